"""contenders.py: who is compared, and with what configuration.

Each contender is a class that writes a configuration for production use (one worker, caching 1 GB, upstream
keep-alive, no logs) into a folder of its own and names the command that runs it in the foreground, without
becoming a service. What a contender cannot do it says in `refuses`, so that the table shows a word and not
a gap. All listen on the loopback address; floors and origin get their port from the kernel, the others from
a port that the kernel handed out a moment before.
"""

import os
import re
import resource
import shutil
import subprocess

CACHE_MB = 1024
CONNECTIONS = 16000
NGINX_CONNECTIONS = 8000


class Work:
    """One workload. `kind` says where answers come from: hit, proxy, miss, or a mix of them; `at_rate`: latency is
    measured at a fixed rate as well; `logged`: Millpond alone, writing its access log; `tls`: clients come over TLS
    1.3; `streams`: and with HTTP/2, as many at once on each connection; `targets` are what Millpond is to reach: what
    is measured, its bound, and the contender or the other workload of its own that it is a multiple of, None when it
    is absolute."""

    def __init__(self, name, text, kind, path, size, connections=50, close=False, at_rate=False, logged=False,
                 tls=False, streams=0, targets=()):
        self.name, self.text, self.kind, self.path, self.size = name, text, kind, path, size
        self.connections, self.close, self.at_rate, self.logged = connections, close, at_rate, logged
        self.tls, self.streams, self.targets = tls, streams, targets


WORKS = [
    Work("hit1k", "cached 1 KB, keep-alive, 50 connections", "hit", "/1k", 1024, at_rate=True,
         targets=[("cpu_us", 1.12, "floor")]),
    Work("log1k", "cached 1 KB as in hit1k, with a JSON access log to a file", "hit", "/1k", 1024, logged=True,
         targets=[("cpu_us", 1.10, "hit1k")]),
    Work("hit100k", "cached 100 KB, keep-alive, 50 connections", "hit", "/100k", 102400,
         targets=[("cpu_us", 1.08, "floor")]),
    Work("hit1m", "cached 1 MB, keep-alive, 50 connections", "hit", "/1m", 1048576,
         targets=[("cpu_us", 1.03, "floor")]),
    Work("conn1k", "cached 1 KB, one connection each", "hit", "/1k", 1024, close=True,
         targets=[("cpu_us", 0.98, "h2o")]),
    Work("many1k", "cached 1 KB, keep-alive, 5,000 connections", "hit", "/1k", 1024, connections=5000),
    Work("proxy1k", "proxied 1 KB, not cacheable, 50 connections", "proxy", "/nocache/1k", 1024, at_rate=True,
         targets=[("cpu_us", 1.22, "floor")]),
    Work("proxy100k", "proxied 100 KB, not cacheable, 50 connections", "proxy", "/nocache/100k", 102400,
         targets=[("cpu_us", 1.21, "floor")]),
    Work("miss1k", "1 KB, all keys new: fetched and stored", "miss", "/m/first", 1024,
         targets=[("cpu_us", 1.71, "floor"), ("per_second", 1.30, "haproxy")]),
    Work("mix", "1 KB; 90% hits, Zipf(0.9) over 100,000 objects, 5% new keys, 5% not cacheable", "mix", "/objects/0",
         1024, at_rate=True),
    Work("tls1k", "cached 1 KB over TLS 1.3, keep-alive, 50 connections", "hit", "/1k", 1024, tls=True,
         targets=[("cpu_us", 0.95, "h2o")]),
    Work("h2tls1k", "cached 1 KB over HTTP/2 and TLS 1.3, 8 connections of 32 streams", "hit", "/1k", 1024,
         connections=8, tls=True, streams=32, targets=[("cpu_us", 1.33, "h2o")]),
    Work("handshake", "a full TLS 1.3 handshake (ECDSA P-256) and 1 KB, one connection each", "hit", "/1k", 1024,
         connections=4, close=True, tls=True, targets=[("cpu_us", 1.05, "floor")]),
    Work("idlemem", "memory per idle keep-alive connection, 5,000 of them", "hit", "/1k", 1024, connections=5000,
         targets=[("bytes_each", 512, None)]),
    Work("idletls", "memory per idle keep-alive connection over TLS 1.3, 2,000 of them", "hit", "/1k", 1024,
         connections=2000, tls=True, targets=[("bytes_each", 12288, None)]),
    Work("idleh2", "memory per idle connection by HTTP/2 over TLS 1.3, 1,000 of them", "hit", "/1k", 1024,
         connections=1000, tls=True, streams=1),
    Work("objmem", "memory per cached 1 KB object, beyond its body", "miss", "/m/first", 1024,
         targets=[("bytes_each", 420, None)]),
]
MEMORY_WORKS = ("idlemem", "idletls", "idleh2", "objmem")
CIPHER = "TLS_AES_256_GCM_SHA384"  # for all, since it decides what a record costs


class Place:
    """What a contender is given for one run: folders, ports, the workload."""

    def __init__(self, folder, ram, port, origin_port, work, seconds, built, load):
        self.folder, self.ram, self.port, self.origin_port = folder, ram, port, origin_port
        self.work, self.seconds, self.built, self.load = work, seconds, built, load

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="ascii") as out:
            out.write(text)
        return path

    def certificate(self):
        """A key and a certificate for it, of the kind that is made by default today; both in one file as well."""
        cert, key, both = (os.path.join(self.folder, name) for name in ("cert.pem", "key.pem", "both.pem"))
        if not os.path.exists(both):
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                            "-days", "2", "-subj", "/CN=bench.test", "-keyout", key, "-out", cert], check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            with open(both, "w", encoding="ascii") as out:
                for part in (cert, key):
                    with open(part, encoding="ascii") as text:
                        out.write(text.read())
        return cert, key, both


def first_number(argv):
    """The version in what a program says about itself."""
    try:
        said = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return "?"
    found = re.search(r"\d+\.\d+(\.\d+)?[\w.+~-]*", said.decode("utf-8", "replace"))
    return found.group(0) if found else "?"


class Contender:
    """`program` is looked for in PATH and the sbin folders."""

    name = program = None
    version_argument = "-v"
    ram_counts = False  # objmem: what it keeps on the tmpfs is its cache, not a second copy

    def __init__(self, built):
        self.built = built

    def path(self):
        return shutil.which(self.program, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin:/usr/bin")

    def version(self):
        return first_number([self.path(), self.version_argument])

    def refuses(self, work):
        """None, or why this workload is not for this contender."""
        return None

    def announces_port(self, work):
        """Prints the port it got, instead of taking the one it is told."""
        return False

    def command(self, place):
        raise NotImplementedError


class Floor(Contender):
    """The bare loops of bench/load: what the kernel alone costs. Of handshakes: OpenSSL's own server."""

    name = "floor"

    def path(self):
        return os.path.join(self.built, "floor_responder")

    def version(self):
        return "bench/load"

    def refuses(self, work):
        if work.kind == "mix":
            return "keeps no cache"
        if work.tls and not work.close:
            return "the floor has no TLS"
        return "the floor is one of time" if work.name in MEMORY_WORKS else None

    def announces_port(self, work):
        return not work.tls

    def command(self, place):
        work = place.work
        if work.tls:
            cert, key, _ = place.certificate()
            place.write("floor" + work.path, f"HTTP/1.1 200 OK\r\nContent-Length: {work.size}\r\n"
                        "Connection: close\r\n\r\n" + "f" * work.size)
            return ["sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", place.folder + "/floor", "openssl", "s_server",
                    "-accept", f"127.0.0.1:{place.port}", "-cert", cert, "-key", key, "-HTTP", "-quiet",
                    "-no_cache", "-num_tickets", "2", "-ciphersuites", CIPHER]
        if work.kind != "hit":
            return [os.path.join(self.built, "floor_relay"), str(place.origin_port)]
        return [self.path(), str(work.size)] + (["close"] if work.close else [])


class Millpond(Contender):
    name, version_argument = "millpond", "version"

    def path(self):
        return os.environ.get("MILLPOND") or os.path.join(os.path.dirname(self.built), "gcc", "millpond")

    def command(self, place):
        access = place.folder + "/access.log" if place.work.logged else "off"
        tls = ""
        if place.work.tls:
            cert, key, _ = place.certificate()
            tls = f"tls_certificate = {cert}\ntls_key = {key}\ntls_ciphers = {CIPHER}"
        config = place.write("millpond.ini", f"""\
[millpond]
workers = 1
runtime_dir = {place.folder}/run
state_dir = {place.folder}/state
max_connections = {CONNECTIONS}
[log]
level = warn
file = {place.folder}/millpond.log
access = {access}
[listen bench]
address = 127.0.0.1:{place.port}
{tls}
[pool origin]
server = 127.0.0.1:{place.origin_port}
[cache]
memory_size = {CACHE_MB}M
""")
        return [self.path(), "run", "-c", config]


class Nginx(Contender):
    """Keeps as many cached files open as the descriptors it may have leave beside its connections. tcp_nopush stays
    off, as it is by default: with it answers of 100 KB stall for 20 ms on loopback."""

    name, program, ram_counts = "nginx", "nginx", True

    def command(self, place):
        files = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 150000)
        user = "user root;" if os.geteuid() == 0 else ""
        options, tls = "", ""
        if place.work.tls:
            cert, key, _ = place.certificate()
            options = " ssl http2" if place.work.streams else " ssl"
            tls = (f"ssl_certificate {cert}; ssl_certificate_key {key}; ssl_protocols TLSv1.3;"
                   f" ssl_conf_command Ciphersuites {CIPHER}; http2_max_concurrent_streams 128;")
        temp = "\n".join(f"    {kind}_temp_path {place.folder}/{kind};"
                         for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        config = place.write("nginx.conf", f"""\
{user}
daemon off;
worker_processes 1;
worker_rlimit_nofile {files};
pid {place.folder}/nginx.pid;
error_log {place.folder}/error.log crit;
events {{ worker_connections {NGINX_CONNECTIONS}; multi_accept on; }}
http {{
{temp}
    access_log off;
    server_tokens off;
    sendfile on;
    keepalive_timeout 75s;
    keepalive_requests 1000000000;
    open_file_cache max={max(1000, files - NGINX_CONNECTIONS - 1000)} inactive=60s;
    open_file_cache_valid 60s;
    proxy_cache_path {place.ram}/nginx levels=1:2 keys_zone=bench:256m max_size={CACHE_MB}m inactive=1h
                     use_temp_path=off;
    upstream origin {{
        server 127.0.0.1:{place.origin_port};
        keepalive 128;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{place.port}{options} backlog=8192;
        {tls}
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $http_host;
        proxy_buffers 16 16k;
        proxy_buffer_size 16k;
        proxy_busy_buffers_size 64k;
        location / {{
            proxy_pass http://origin;
            proxy_cache bench;
            proxy_cache_use_stale error timeout updating;
        }}
        location /nocache/ {{ proxy_pass http://origin; }}
    }}
}}
""")
        return [self.path(), "-p", place.folder, "-c", config, "-e", place.folder + "/start.log"]


class Haproxy(Contender):
    name = program = "haproxy"

    def command(self, place):
        tls = ""
        if place.work.tls:
            alpn = "h2,http/1.1" if place.work.streams else "http/1.1"
            tls = f" ssl crt {place.certificate()[2]} alpn {alpn} ssl-min-ver TLSv1.3 ciphersuites {CIPHER}"
        config = place.write("haproxy.cfg", f"""\
global
    nbthread 1
    maxconn 8000
defaults
    mode http
    timeout connect 3s
    timeout client 60s
    timeout server 60s
    timeout http-keep-alive 60s
    option http-keep-alive
    http-reuse always
cache small
    total-max-size {CACHE_MB}
    max-object-size 2000000
    max-age 3600
frontend bench
    bind 127.0.0.1:{place.port} backlog 8192{tls}
    acl uncacheable path_beg /nocache/
    http-request cache-use small if !uncacheable
    http-response cache-store small
    default_backend origin
backend origin
    server origin 127.0.0.1:{place.origin_port} pool-max-conn 128
""")
        return [self.path(), "-f", config, "-db"]


class Varnish(Contender):
    """Its log is a ring in shared memory, on the tmpfs; every record is masked here, as the others log nothing."""

    name, program, version_argument = "varnish", "varnishd", "-V"

    def refuses(self, work):
        return "has no TLS" if work.tls else None

    def no_log(self):
        listed = subprocess.run([self.path(), "-x", "vsl"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                timeout=10, check=False).stdout.decode()
        records = re.findall(r"^(\w+)\n-+$", listed, re.MULTILINE)
        return ["-p", "vsl_mask=" + ",".join("-" + name for name in records)] if records else []

    def command(self, place):
        vcl = place.write("bench.vcl", f"""\
vcl 4.1;
backend origin {{ .host = "127.0.0.1"; .port = "{place.origin_port}"; }}
sub vcl_recv {{
    if (req.url ~ "^/nocache/") {{ return (pass); }}
}}
""")
        jail = ["-j", "none"] if os.geteuid() == 0 else []
        return [self.path()] + jail + [
            "-F", "-n", place.ram + "/varnish", "-a", f"127.0.0.1:{place.port}", "-f", vcl, "-T", "none",
            "-S", "none", "-s", f"malloc,{CACHE_MB}M", "-p", "thread_pools=1", "-p", "thread_pool_min=100",
            "-p", "timeout_idle=60", "-p", "listen_depth=8192"] + self.no_log()


class H2o(Contender):
    """It has no cache: cached answers are its static files, as its users would serve them."""

    name, program = "h2o", "h2o"

    def refuses(self, work):
        return "keeps no cache" if work.kind in ("miss", "mix") else None

    def command(self, place):
        for work in WORKS:
            if work.kind == "hit":
                place.write("files" + work.path, "h" * work.size)
        user = "user: root" if os.geteuid() == 0 else ""
        tls = ""
        if place.work.tls:
            cert, key, _ = place.certificate()
            tls = (f"  ssl:\n    certificate-file: {cert}\n    key-file: {key}\n    minimum-version: TLSv1.3\n"
                   "    cipher-preference: server\n")
        config = place.write("h2o.conf", f"""\
{user}
num-threads: 1
max-connections: {CONNECTIONS}
http1-request-timeout: 60
http2-idle-timeout: 60
proxy.timeout.keepalive: 60000
proxy.preserve-host: ON
tcp-fastopen: 0
pid-file: {place.folder}/h2o.pid
error-log: {place.folder}/h2o.log
listen:
  host: 127.0.0.1
  port: {place.port}
{tls}hosts:
  default:
    paths:
      /nocache:
        proxy.reverse.url: "http://127.0.0.1:{place.origin_port}/nocache"
      /:
        file.dir: {place.folder}/files
        header.set: "Cache-Control: max-age=3600"
""")
        return [self.path(), "-c", config]


class Trafficserver(Contender):
    """Its cache is a file on the tmpfs with a memory cache in front that takes everything when it is read first."""

    name, program, version_argument = "trafficserver", "traffic_server", "--version"

    def command(self, place):
        folder = place.folder
        options = ""
        if place.work.tls:
            place.certificate()
            options = ":ssl:proto=http2;http" if place.work.streams else ":ssl:proto=http"
        for sub in ("etc", "run", "log", "cache", "plugins"):
            os.makedirs(os.path.join(folder, sub), exist_ok=True)
        os.makedirs(os.path.join(place.ram, "ts"), exist_ok=True)
        place.write("etc/records.config", f"""\
CONFIG proxy.config.admin.user_id STRING #-1
CONFIG proxy.config.http.server_ports STRING {place.port}:ip-in=127.0.0.1{options}
CONFIG proxy.config.ssl.server.cert.path STRING {folder}
CONFIG proxy.config.ssl.server.private_key.path STRING {folder}
CONFIG proxy.config.ssl.server.multicert.filename STRING {folder}/etc/ssl_multicert.config
CONFIG proxy.config.ssl.TLSv1_2 INT 0
CONFIG proxy.config.ssl.server.TLSv1_3.cipher_suites STRING {CIPHER}
CONFIG proxy.config.exec_thread.autoconfig INT 0
CONFIG proxy.config.exec_thread.limit INT 1
CONFIG proxy.config.exec_thread.affinity INT 0
CONFIG proxy.config.net.connections_throttle INT {CONNECTIONS}
CONFIG proxy.config.net.listen_backlog INT 8192
CONFIG proxy.config.cache.ram_cache.size INT {CACHE_MB}M
CONFIG proxy.config.cache.ram_cache_cutoff INT 4M
CONFIG proxy.config.cache.ram_cache.use_seen_filter INT 0
CONFIG proxy.config.cache.min_average_object_size INT 2000
CONFIG proxy.config.http.cache.required_headers INT 2
CONFIG proxy.config.http.insert_age_in_response INT 1
CONFIG proxy.config.http.keep_alive_no_activity_timeout_in INT 60
CONFIG proxy.config.http.server_session_sharing.match STRING ip
CONFIG proxy.config.url_remap.remap_required INT 1
CONFIG proxy.config.log.logging_enabled INT 0
CONFIG proxy.config.crash_log_helper STRING NULL
CONFIG proxy.config.diags.debug.enabled INT 0
""")
        place.write("etc/ssl_multicert.config",
                    "dest_ip=* ssl_cert_name=cert.pem ssl_key_name=key.pem\n" if place.work.tls else "")
        place.write("etc/remap.config", f"map / http://127.0.0.1:{place.origin_port}/\n")
        place.write("etc/cache.config", "url_regex=/nocache/ action=never-cache\n")
        place.write("etc/storage.config", f"{place.ram}/ts {CACHE_MB}M\n")
        place.write("etc/ip_allow.yaml", "ip_allow:\n  - apply: in\n    ip_addrs: 127.0.0.1\n    action: allow\n"
                                         "    methods: ALL\n")
        place.write("etc/logging.yaml", "logging:\n")
        root = place.write("runroot.yaml", f"""\
prefix: {folder}
exec_prefix: {folder}
bindir: /usr/bin
sbindir: /usr/sbin
sysconfdir: {folder}/etc
datadir: {folder}/cache
includedir: {folder}/etc
libdir: {folder}/plugins
libexecdir: {folder}/plugins
localstatedir: {folder}
runtimedir: {folder}/run
logdir: {folder}/log
cachedir: {folder}/cache
""")
        return [self.path(), f"--run-root={root}"]


CONTENDERS = [Floor, Millpond, Nginx, Haproxy, Varnish, H2o, Trafficserver]
