// page.js: asks /api/status every two seconds and shows it. Values become text, never markup: names of routes
// and instances come from a file, and reasons may quote an instance. The token is kept nowhere but here.
'use strict';

const ASK_EVERY_MS = 2000;
const EXPIRES_SOON_DAYS = 21;
const $ = id => document.getElementById(id);
let token = '', timer;

// ---- values ----

function size(n) {
  const units = ['B', 'KB', 'MB', 'GB', 'TB'];
  let i = 0;
  for (; n >= 1024 && i < units.length - 1; i++) n /= 1024;
  return (i ? n.toFixed(1) : n) + ' ' + units[i];
}

function ms(n) {
  return n ? n.toFixed(n < 10 ? 2 : n < 100 ? 1 : 0) + ' ms' : '-';
}

function age(s) {
  if (s < 60) return s + ' s';
  if (s < 3600) return Math.floor(s / 60) + ' min';
  if (s < 86400) return Math.floor(s / 3600) + ' h ' + Math.floor(s / 60 % 60) + ' min';
  return Math.floor(s / 86400) + ' d';
}

function when(at_ms) {
  const at = new Date(at_ms);
  return at.toDateString() === new Date().toDateString() ? at.toLocaleTimeString() : at.toLocaleString();
}

const rate = (figures, window_ms) =>
  figures?.count && window_ms > 0 ? (1000 * figures.count / window_ms).toFixed(1) : '0';
const errors = figures => figures?.statuses?.['5xx'] ?? 0;

// ---- elements ----

function make(tag, text, name) {
  const e = document.createElement(tag);
  e.textContent = text ?? '';
  if (name) e.className = name;
  return e;
}

function row(cells, name) {
  const r = document.createElement('tr');
  r.append(...cells);
  if (name) r.className = name;
  return r;
}

function cells(id, figures) {
  $(id).replaceChildren(...figures.map(([term, value, name]) => {
    const d = document.createElement('div');
    d.append(make('dt', term), make('dd', value, name));
    return d;
  }));
}

// ---- parts of the page ----

function troubles(s) {
  const list = [], last = s.config.last_reload;
  if (last && !last.ok) list.push('The last reload was refused: ' + last.problems.join('; '));
  for (const t of [...s.tls ?? [], ...s.tls_pools ?? []]) {
    if (t.problem) list.push('Changed TLS files are not used: ' + t.problem);
    for (const c of t.certificates ?? [])
      if (c.expires_in_days < EXPIRES_SOON_DAYS)
        list.push(`The certificate ${c.file} expires in ${c.expires_in_days} days`);
  }
  if (s.redis?.trouble) list.push('Redis: ' + s.redis.trouble);
  if (s.counters.accept_pauses)
    list.push(`Descriptors ran out, accepting paused ${s.counters.accept_pauses} times since the start`);
  if (s.log_lines_dropped) list.push(`${s.log_lines_dropped} log lines were lost since the start`);

  const box = $('trouble');
  box.hidden = !list.length;
  if ([...box.children].map(e => e.textContent).join() !== list.join()) // else it would be read aloud again
    box.replaceChildren(...list.map(t => make('li', t)));
}

function traffic(s) {
  const r = s.recent;
  $('window').textContent = `in the last ${age(Math.round(r.window_ms / 1000))}`;
  cells('traffic', [
    ['requests per s', rate(r, r.window_ms)],
    ['answered 5xx', errors(r), errors(r) ? 'bad' : ''],
    ['answered 4xx', r.statuses?.['4xx'] ?? 0],
    ['p50', ms(r.p50_ms)],
    ['p95', ms(r.p95_ms)],
    ['p99', ms(r.p99_ms)],
    ['in flight now', s.counters.requests_in_flight],
    ['clients now', s.connections],
    ['slow since start', s.counters.slow_requests],
    ['requests since start', s.requests],
  ]);
}

function cache(c) {
  cells('cache', !c ? [['cache', 'off']] : [
    ['objects', c.objects],
    ['used', size(c.bytes_used)],
    ['limit', size(c.bytes_limit)],
    ['hits since start', c.hit_ratio === null ? '-' : (100 * c.hit_ratio).toFixed(1) + ' %'],
    ['evictions', c.evictions],
    ['purges', c.purges],
  ]);
}

function instances(pools, recent) {
  const of = new Map(recent.instances.map(figures => [figures.instance, figures]));
  $('instances').replaceChildren(...pools.flatMap(p => p.instances.flatMap(i => {
    const f = of.get(p.name + '/' + i.server);
    const why = make('td', i.spared ? 'failing; not ejected: ' + i.spared : i.reason);
    why.colSpan = 7;
    return [
      row([
        make('td', p.name),
        make('td', i.name, 'any'),
        make('td', i.state, i.state),
        make('td', i.in_flight, 'n'),
        make('td', rate(f, recent.window_ms), 'n'),
        make('td', errors(f), errors(f) ? 'n bad' : 'n'),
        make('td', f ? ms(f.p95_ms) : '-', 'n'),
      ]),
      row([why], 'why'),
    ];
  })));
}

function events(list) {
  $('events').replaceChildren(...list.map(e => row([
    make('td', when(e.at_ms), 't'),
    make('td', `${e.kind}: ${e.count > 1 ? e.count + ' times, the last: ' : ''}${e.text}`, 'any'),
  ])));
}

function show(s) {
  $('about').textContent = `${s.version}, ${s.state ?? 'running'}, up ${age(s.uptime_s)}, ` +
    `configuration ${s.config.generation} from ${s.config.path}`;
  troubles(s);
  traffic(s);
  cache(s.cache);
  instances(s.pools, s.recent);
  events(s.events);
}

// ---- asking ----

async function ask() {
  clearTimeout(timer);
  try {
    const r = await fetch('/api/status', token ? {headers: {Authorization: 'Bearer ' + token}} : {});
    const s = await r.json();
    $('ask').hidden = r.status !== 401;
    $('live').hidden = !r.ok;
    if (r.ok) {
      show(s);
    } else {
      $('about').textContent = '';
      $('said').textContent = token ? s.error : '';
    }
    if (r.status === 401) return; // goes on when there is another token
  } catch (e) {
    $('about').textContent = 'no answer; trying again';
  }
  clearTimeout(timer);
  timer = setTimeout(ask, ASK_EVERY_MS);
}

$('ask').addEventListener('submit', e => {
  e.preventDefault();
  token = $('token').value.trim();
  ask();
});
ask();
