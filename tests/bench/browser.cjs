// The models page in Chromium beside the proxy's own UI, both without anything in the browser's cache: time until
// rows are visible, requests and bytes until then, each the median of five loads in turn. Prints both as JSON.
//
//   node browser.cjs DASHBOARD PROXY      (BENCH_USERNAME and BENCH_PASSWORD log in at both)
'use strict'
const { chromium } = require('playwright-core')
const [dashboard, proxy] = process.argv.slice(2)
const user = { name: process.env.BENCH_USERNAME, password: process.env.BENCH_PASSWORD }
const ROUNDS = 5

const sides = {
  ours: { login: `${dashboard}/login`, models: async () => `${dashboard}/models`, row: '#models tbody tr' },
  theirs: {
    login: `${proxy}/ui/login/`,
    // Wherever its menu leads.
    models: async (page) => {
      await page.getByText('Models + Endpoints').first().click({ timeout: 60_000 })
      await page.locator('table tbody tr:has-text("seed-model")').first().waitFor({ timeout: 60_000 })
      return page.url()
    },
    row: 'table tbody tr:has-text("seed-model")',
  },
}

async function prepare(browser, side) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 } })
  const page = await context.newPage()
  await page.goto(side.login, { waitUntil: 'networkidle' })
  await page.locator('input:not([type=password]):not([type=hidden])').first().fill(user.name)
  await page.locator('input[type=password]').fill(user.password)
  await page.locator('input[type=password]').press('Enter')
  await page.waitForURL((url) => !url.pathname.includes('login'), { timeout: 60_000 })
  const url = await side.models(page)
  await page.close()
  return { context, url, row: side.row }
}

async function load({ context, url, row }) {
  const page = await context.newPage()
  const cdp = await context.newCDPSession(page)
  await cdp.send('Network.enable')
  await cdp.send('Network.setCacheDisabled', { cacheDisabled: true })
  let requests = 0, bytes = 0
  cdp.on('Network.requestWillBeSent', (event) => { if (!event.request.url.startsWith('data:')) requests += 1 })
  cdp.on('Network.dataReceived', (event) => { bytes += event.encodedDataLength })
  const begun = performance.now()
  await page.goto(url, { waitUntil: 'commit' })
  await page.locator(row).first().waitFor({ timeout: 60_000 })
  const taken = { 'time until rows are visible': performance.now() - begun, requests, bytes: bytes / 1000 }
  await page.close()
  return taken
}

const median = (values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)]

;(async () => {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
    args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  })
  const ready = [await prepare(browser, sides.ours), await prepare(browser, sides.theirs)]
  const taken = [[], []]
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const [side, one] of ready.entries()) taken[side].push(await load(one))
  }
  const names = Object.keys(taken[0][0])
  console.log(JSON.stringify(taken.map((loads) => Object.fromEntries(names.map((name) => [name, median(loads.map((one) => one[name]))])))))
  await browser.close()
})().catch((error) => { console.error(error.message); process.exit(1) })
