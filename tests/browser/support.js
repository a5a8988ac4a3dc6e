// A demo, a browser, and pages that note whatever goes wrong on them.
'use strict'
const { spawn } = require('child_process')
const fs = require('fs')
const os = require('os')
const path = require('path')
const assert = require('assert/strict')
const { chromium } = require('playwright-core')

const AXE = fs.readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8')
const LOGIN = { username: 'fuzzforge', password: 'fuzzforge123' }
const ARGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']
const SHOTS = process.env.SHOTS
const opened = new Set()

// The addresses that `patchbay demo` prints.
async function startDemo () {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'patchbay-browser-'))
  const env = { PATH: process.env.PATH, HOME: folder, RUST_LOG: 'warn' }
  const demo = spawn(process.env.PATCHBAY_BINARY, ['demo', '--bind', '127.0.0.1:0'], { cwd: folder, env })
  let said = ''
  const told = new Promise((resolve, reject) => {
    demo.stdout.on('data', (data) => { said += data; if (said.includes('Ctrl-C')) resolve() })
    demo.on('exit', () => reject(new Error(`the demo ended: ${said}`)))
  })
  demo.stderr.on('data', (data) => { said += data })
  await told
  const line = (name) => new RegExp(`${name} +(\\S+)`).exec(said)[1]
  return {
    base: line('dashboard'),
    proxy: line('proxy'),
    key: line('master key'),
    stop: () => { demo.removeAllListeners('exit'); demo.kill(); fs.rmSync(folder, { recursive: true, force: true }) }
  }
}

const startBrowser = () => chromium.launch({ executablePath: process.env.CHROMIUM || '/usr/bin/chromium', args: ARGS })

// A page whose console errors, script errors and CSP reports are kept; `end` fails on any.
async function open (browser, base, options = {}) {
  const { login = true, ...rest } = options
  const context = await browser.newContext({ baseURL: base, viewport: { width: 1440, height: 900 }, ...rest })
  context.setDefaultTimeout(15000)
  const page = await context.newPage()
  const findings = []
  const where = () => new URL(page.url()).pathname
  // Forms that are refused answer 422 or 409, which the browser writes to its console.
  page.on('console', (m) => { if (m.type() === 'error' && !/status of (404|409|422|502)/.test(m.text())) findings.push(`${where()}: ${m.text()}`) })
  page.on('pageerror', (error) => findings.push(`${where()}: ${error.message}`))
  await page.exposeFunction('reportViolation', (text) => findings.push(`${where()}: CSP: ${text}`))
  if (rest.javaScriptEnabled !== false) {
    await page.addInitScript(() => document.addEventListener('securitypolicyviolation', (e) => window.reportViolation(`${e.violatedDirective} ${e.blockedURI}`)))
  }
  opened.add(page)
  if (login) await logIn(page)
  return { page, context, findings, async end () { opened.delete(page); await context.close(); assert.deepEqual(findings, []) } }
}

// How the pages looked when a test failed.
async function lastLooks (name) {
  for (const page of opened) {
    await shot(page, `failed-${name.replace(/\W+/g, '-')}`).catch(() => {})
    await page.context().close().catch(() => {})
  }
  opened.clear()
}

async function logIn (page) {
  await page.goto('/login')
  await page.fill('[name=username]', LOGIN.username)
  await page.fill('[name=password]', LOGIN.password)
  await page.press('[name=password]', 'Enter')
  await page.waitForSelector('nav[aria-label=Main]')
}

// What axe-core finds. It runs through the debugger, so that the strict CSP does not stop it.
async function axe (page) {
  if (!(await page.evaluate('!!window.axe'))) await page.evaluate(AXE)
  return page.evaluate(async () => {
    const found = await window.axe.run(document, { resultTypes: ['violations'] })
    return found.violations.map((v) => `${v.impact} ${v.id}: ${v.help} (${v.nodes.map((n) => n.target.join(' ')).slice(0, 3).join('; ')})`)
  })
}

const shot = async (page, name) => { if (SHOTS) await page.screenshot({ path: path.join(SHOTS, `${name}.png`), fullPage: true, animations: 'disabled' }) }

// Swaps a context by the API, so that a test need not click its way there.
async function swap (base, context, model, message = '') {
  const body = new URLSearchParams({ agent: 'task-agent', context, model, message })
  const auth = Buffer.from(`${LOGIN.username}:${LOGIN.password}`).toString('base64')
  const answer = await fetch(`${base}/switch`, { method: 'POST', body, headers: { accept: 'application/json', authorization: `Basic ${auth}` } })
  assert.equal(answer.status, 200, await answer.clone().text())
  return answer.json()
}

// A write to the sandbox that plays the proxy.
async function admin (demo, address, body) {
  const answer = await fetch(demo.proxy + address, { method: 'POST', body: JSON.stringify(body), headers: { 'content-type': 'application/json', authorization: `Bearer ${demo.key}` } })
  assert.ok(answer.ok, await answer.clone().text())
  return answer.json()
}

module.exports = { startDemo, startBrowser, open, lastLooks, logIn, axe, shot, swap, admin, ARGS, LOGIN }
