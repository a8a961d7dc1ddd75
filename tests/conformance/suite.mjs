// suite.mjs FOLDER [--update | ID...]: runs the HTTP cache tests that npm installed in FOLDER and judges their results.
//
// The suite's own server is the instance, its own client the client, and the binary that MILLPOND names stands between
// them. Server and binary listen on ports that the kernel gives, and end with this process, however it ends (setpriv).
// What comes out worse than expected.json says is run once more: many tests hold that something is still fresh after a
// moment, which a busy machine may stretch. What fails then too is a failure. What comes out better is reported, so
// that the expectation is tightened. FOLDER/results.json keeps each result with its reason.

import { spawn } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const AT_ONCE = 50
const START_MS = 60000
const END_MS = 10000
const KINDS = { required: 'required', optimal: 'optimal', check: 'behaviour check' }
// The suite's verdicts by the sign that it gives them.
const SIGNS = {
  '✅': 'pass', Y: 'yes', '⛔️': 'fail', '⚠️': 'fail', N: 'no', '🔹': 'setup failed', '⁉️': 'harness failed',
  '⚪️': 'depends on one that fails', '↻': 'retried', '-': 'not run'
}

const here = path.dirname(fileURLToPath(import.meta.url))
const expectedFile = path.join(here, 'expected.json')
const documentFile = path.join(here, '../../docs/conformance.md')
const [folder, ...words] = process.argv.slice(2)
const only = words.filter(word => word !== '--update')

const installed = file => path.resolve(folder, 'node_modules', file)
const load = file => import(pathToFileURL(installed(file)).href)
const { default: suites } = await load('http-cache-tests/tests/index.mjs')
const { makeCacheTest, testResults } = await load('http-cache-tests/client/test.mjs')
const { determineTestResult } = await load('http-cache-tests/lib/display.mjs')
const client = await load('http-cache-tests/client/config.mjs')
const { default: fetch } = await load('node-fetch/lib/index.mjs')

const kindOf = test => test.kind ?? 'required'
const outcome = test => SIGNS[determineTestResult(suites, test.id, testResults)[2]]
const reason = test => testResults[test.id]?.[1]
const isGood = test => ['pass', 'yes'].includes(outcome(test))

const children = []

// Starts a program, and waits until what it prints matches; the first group of the match is its port.
function start (command, args, env, pattern) {
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', command, ...args],
    { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  children.push(child)
  return new Promise((resolve, reject) => {
    let said = ''
    const fail = why => reject(new Error(`${command} ${why}:\n${said}`))
    const timer = setTimeout(fail, START_MS, 'did not start')
    const hear = text => {
      if (only.length > 0) process.stdout.write(text)
      said += text
      const port = said.match(pattern)?.[1]
      if (port === undefined) return
      clearTimeout(timer)
      resolve(port)
    }
    child.stdout.on('data', hear)
    child.stderr.on('data', hear)
    child.on('error', fail)
    child.on('exit', () => fail('ended'))
  })
}

function end (child) {
  if (child.exitCode !== null || child.signalCode !== null) return
  return new Promise(resolve => {
    child.on('exit', resolve)
    child.kill('SIGTERM')
    setTimeout(() => child.kill('SIGKILL'), END_MS).unref()
  })
}

// No retries: the server counts what it sees, and takes a request that comes twice for a fault of the client.
async function startProxy (work) {
  const origin = await start('node', [installed('http-cache-tests/server/server.mjs')],
    { npm_config_protocol: 'http', npm_config_port: '0', npm_config_pidfile: path.join(work, 'origin.pid') },
    /Listening on \S+:(\d+)\//)
  const ini = path.join(work, 'millpond.ini')
  fs.writeFileSync(ini, `[millpond]
workers = 2
runtime_dir = ${work}
state_dir = ${work}
[log]
access = off
[listen web]
address = 127.0.0.1:0
[pool app]
health_check = off
retries = 0
server = 127.0.0.1:${origin}
`)
  return start(process.env.MILLPOND, ['run', '-c', ini], {}, /:(\d+) \(listen web\)[^]* ready/)
}

async function runTests (tests) {
  for (let i = 0; i < tests.length; i += AT_ONCE) {
    await Promise.all(tests.slice(i, i + AT_ONCE).map(test => {
      delete testResults[test.id]
      return makeCacheTest(structuredClone(test)) // it writes into what it is given
    }))
  }
}

function report (tests, expected) {
  for (const [kind, name] of Object.entries(KINDS)) {
    const those = tests.filter(test => kindOf(test) === kind)
    const others = {}
    for (const test of those.filter(test => !isGood(test))) others[outcome(test)] = (others[outcome(test)] ?? 0) + 1
    console.log(`${name}: ${those.filter(isGood).length} of ${those.length}` +
      Object.entries(others).map(([word, count]) => `, ${count} ${word}`).join(''))
  }
  const explanations = fs.readFileSync(documentFile, 'utf8')
  let failed = 0
  for (const test of tests) {
    const known = test.id in expected
    if (isGood(test) && known) {
      console.log(`${test.id}: better than expected; take it out of expected.json and docs/conformance.md`)
    } else if (!isGood(test) && !known) {
      console.log(`FAILED ${test.id}: ${outcome(test)}: ${reason(test) ?? ''}`)
      failed++
    } else if (!isGood(test) && kindOf(test) !== 'check' && !explanations.includes(`\`${test.id}\``)) {
      console.log(`FAILED ${test.id}: docs/conformance.md does not say why`)
      failed++
    }
  }
  console.log(`${tests.filter(isGood).length} passed, ${failed} failed`)
  return failed === 0
}

const save = (file, entries) => fs.writeFileSync(file, JSON.stringify(Object.fromEntries(entries), null, 2) + '\n')

async function main (work) {
  const all = suites.flatMap(suite => suite.tests).filter(test => test.browser_only !== true)
  const expected = JSON.parse(fs.readFileSync(expectedFile, 'utf8'))
  client.setFetch(fetch)
  client.setUseBrowserCache(false)
  client.setBaseUrl(`http://127.0.0.1:${await startProxy(work)}`)
  if (only.length > 0) {
    const tests = all.filter(test => only.includes(test.id))
    await runTests(tests.map(test => ({ ...test, dump: true })))
    for (const test of tests) console.log(`${test.id}: ${outcome(test)}: ${reason(test) ?? ''}`)
    return true
  }
  await runTests(all)
  await runTests(all.filter(test => !isGood(test) && !(test.id in expected)))
  save(path.join(folder, 'results.json'), all.map(test => [test.id, [kindOf(test), outcome(test), reason(test)]]))
  if (!words.includes('--update')) return report(all, expected)
  save(expectedFile, all.filter(test => !isGood(test)).map(test => [test.id, outcome(test)]))
  return true
}

const work = fs.mkdtempSync(path.resolve(folder, 'run-'))
async function leave (status) {
  await Promise.all(children.map(end))
  fs.rmSync(work, { recursive: true, force: true })
  process.exit(status)
}
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => leave(130))
try {
  await leave(await main(work) ? 0 : 1)
} catch (error) {
  console.log(`conformance: ${error.message}\n0 passed, 1 failed`)
  await leave(1)
}
