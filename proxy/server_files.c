/* server_files.c: what the program leaves on the machine while it runs: folders, pid file; who it runs as;
 * and its word to systemd. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/log.h"
#include "proxy/server.h"

#define FILES_OF_OUR_OWN 200 /* listeners, logs, event loops, spare; half where there are few */

static bool make_one_folder(const char *path, uid_t uid, gid_t gid)
{
    struct stat st;
    if (mkdir(path, 0755) != 0) {
        if (errno != EEXIST || stat(path, &st) != 0)
            return false;
        errno = ENOTDIR;
        return S_ISDIR(st.st_mode);
    }
    return uid == (uid_t)-1 || chown(path, uid, gid) == 0;
}

bool server_make_folder(const char *path, uid_t uid, gid_t gid, char *err, size_t err_bytes)
{
    char part[512];
    size_t len = strlen(path);
    struct stat st;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return true;
    if (len == 0 || len >= sizeof part) {
        snprintf(err, err_bytes, "cannot make the folder \"%.60s\": %s", path,
                 len == 0 ? "it has no name" : strerror(ENAMETOOLONG));
        return false;
    }
    for (size_t i = 1; i <= len; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (!make_one_folder(part, uid, gid)) {
            snprintf(err, err_bytes, "cannot make the folder %s: %s", part, strerror(errno));
            return false;
        }
    }
    return true;
}

/* What a full disk left of it would name no process. */
static void drop_unwritten(int fd, const char *path)
{
    struct stat st;
    const int error = errno;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        unlink(path);
    close(fd);
    errno = error;
}

bool server_write_pid(struct server *s, char *err, size_t err_bytes)
{
    int fd = open(s->pid_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    char text[32];
    int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (fd >= 0 && write(fd, text, (size_t)n) == n) {
        close(fd);
        s->pid_written = true;
        return true;
    }
    if (fd >= 0)
        drop_unwritten(fd, s->pid_path);
    snprintf(err, err_bytes,
             "cannot write the pid file %s: %s; set runtime_dir in [millpond] to a writable folder",
             s->pid_path, strerror(errno));
    return false;
}

void server_renew_pid(struct server *s)
{
    char err[512];
    if (!s->pid_written || access(s->pid_path, F_OK) == 0 || errno != ENOENT)
        return;
    if (server_write_pid(s, err, sizeof err))
        log_warn("the pid file %s was gone; it is there again", s->pid_path);
    else
        log_warn("%s", err);
}

/* The process that took this one's place has written its own. */
static bool pid_file_names_us(const struct server *s)
{
    char text[32] = "";
    FILE *f = fopen(s->pid_path, "re");
    const bool read = f != NULL && fgets(text, sizeof text, f) != NULL;
    if (f != NULL)
        fclose(f);
    return read && strtol(text, NULL, 10) == (long)getpid();
}

void server_remove_pid(struct server *s)
{
    if (s->pid_written && pid_file_names_us(s))
        unlink(s->pid_path);
    s->pid_written = false;
}

bool server_find_user(const struct config_main *m, uid_t *uid, gid_t *gid, char *err, size_t err_bytes)
{
    *uid = (uid_t)-1;
    *gid = (gid_t)-1;
    if (geteuid() != 0)
        return true;
    if (m->user[0] != '\0') {
        struct passwd *pw = getpwnam(m->user);
        if (pw == NULL) {
            snprintf(err, err_bytes, "[millpond] user: there is no user named %s", m->user);
            return false;
        }
        *uid = pw->pw_uid;
        *gid = pw->pw_gid;
    }
    if (m->group[0] != '\0') {
        struct group *gr = getgrnam(m->group);
        if (gr == NULL) {
            snprintf(err, err_bytes, "[millpond] group: there is no group named %s", m->group);
            return false;
        }
        *gid = gr->gr_gid;
    }
    return true;
}

bool server_drop_privileges(const struct config_main *m, char *err, size_t err_bytes)
{
    uid_t uid;
    gid_t gid;
    if (!server_find_user(m, &uid, &gid, err, err_bytes))
        return false;
    bool ok = true;
    if (gid != (gid_t)-1)
        ok = (m->user[0] != '\0' ? initgroups(m->user, gid) : setgroups(1, &gid)) == 0 && setgid(gid) == 0;
    if (ok && uid != (uid_t)-1)
        ok = setuid(uid) == 0;
    if (!ok)
        snprintf(err, err_bytes, "cannot become user %s, group %s: %s", m->user, m->group, strerror(errno));
    return ok;
}

void server_notify(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    if (path == NULL || (path[0] != '/' && path[0] != '@') || strlen(path) >= sizeof addr.sun_path)
        return;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    strcpy(addr.sun_path, path);
    if (path[0] == '@')
        addr.sun_path[0] = '\0';
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    if (sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&addr, len) < 0)
        log_warn("systemd could not be told \"%s\": %s", state, strerror(errno));
    close(fd);
}

uint32_t server_clients_of(uint64_t files, uint32_t max_connections)
{
    const uint64_t shared = files - MIN((uint64_t)FILES_OF_OUR_OWN, files / 2);
    return (uint32_t)MIN((uint64_t)max_connections, MAX(shared / 3 * 2, 1u));
}

uint32_t server_client_limit(int max_connections)
{
    struct rlimit lim;
    if (getrlimit(RLIMIT_NOFILE, &lim) != 0)
        return (uint32_t)max_connections;
    lim.rlim_cur = lim.rlim_max;
    setrlimit(RLIMIT_NOFILE, &lim);
    if (getrlimit(RLIMIT_NOFILE, &lim) != 0 || lim.rlim_cur == RLIM_INFINITY)
        return (uint32_t)max_connections;
    const uint32_t clients = server_clients_of(lim.rlim_cur, (uint32_t)max_connections);
    if (clients < (uint32_t)max_connections)
        log_warn(
            "the open-file limit of %llu is too low for max_connections = %d: only %u clients are let in at "
            "a time, the rest is for instances; raise it (ulimit -n, LimitNOFILE) or lower max_connections",
            (unsigned long long)lim.rlim_cur, max_connections, clients);
    return clients;
}
