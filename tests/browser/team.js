// What a team relies on, with two replicas on Postgres and with one on SQLite: an outage that everyone sees, logins by a
// reverse proxy, and all contexts of an agent on another model for two minutes.
'use strict'
const assert = require('assert/strict')
const { open, shot } = require('./support')
const { startBed, LOGIN } = require('./bed')

const MINUTES = 2
const IDS = ['team-1', 'team-2', 'team-3']
const postgres = process.env.PATCHBAY_TEST_POSTGRES
const beds = { sqlite: () => startBed(1, 'sqlite://patchbay.db'), ...(postgres && { postgres: () => startBed(2, postgres) }) }
const running = {}

const logIn = async (page) => {
  await page.goto('/login')
  await page.fill('[name=username]', LOGIN.username)
  await page.fill('[name=password]', LOGIN.password)
  await page.press('[name=password]', 'Enter')
  await page.waitForSelector('nav[aria-label=Main]')
}
const someone = async (browser, base, options = {}) => {
  const one = await open(browser, base, { login: false, ...options })
  if (!options.extraHTTPHeaders) await logIn(one.page)
  return one
}
const models = async (page) => {
  await page.goto('/contexts?agent=task-agent')
  return page.$$eval('#contexts tbody tr', (rows) => rows.map((row) => row.textContent.replace(/\s+/g, ' ')))
}

async function begin (browser, bed) {
  const { page, end } = await someone(browser, bed.base)
  for (const id of IDS) {
    await page.goto('/switch')
    await page.selectOption('#agent', 'task-agent')
    await page.fill('#context', id)
    await page.fill('#model', 'openai/gpt-5')
    await page.click('main form.form button[type=submit]')
    await page.waitForSelector('#receipt[data-outcome=verified]')
  }
  await page.goto('/agents/task-agent')
  await page.click('a:text-is("Switch all contexts")')
  await page.fill('#model', 'openai/gpt-5-mini')
  await page.fill('#minutes', String(MINUTES))
  await page.click('button.primary')
  // Counted first: what the button says is what is done.
  if (await page.locator('button:text-matches("Switch 3 contexts")').count()) await page.click('button:text-matches("Switch 3 contexts")')
  await page.waitForURL(/\/bulk\/[0-9a-f-]+$/)
  bed.job = new URL(page.url()).pathname
  bed.switchedAt = Date.now()
  await page.waitForSelector('text=/3 switched|done/')
  const rows = await models(page)
  for (const id of IDS) assert.ok(rows.some((row) => row.includes(id) && row.includes('gpt-5-mini')), `${id}: ${rows}`)
  await end()
}

async function seeOutage (browser, bed) {
  // Each replica has a page that is open, and so has nginx.
  const people = await Promise.all([bed.base, ...bed.replicas].map((base) => someone(browser, base)))
  await Promise.all(people.map(({ page }, n) => page.goto(['/models', '/', '/agents'][n])))
  for (const { page } of people) assert.ok(!(await page.title()).startsWith('('))
  bed.kill('other-agent')
  const killed = Date.now()
  await Promise.all(people.map(async ({ page }) => {
    await page.waitForFunction(() => document.title.startsWith('(1) '), null, { timeout: 20000 })
    await page.waitForSelector('nav .alarm:not([hidden])[title*="agent/other-agent"]')
  }))
  console.log(`# an outage, seen on ${people.length} open pages: ${Date.now() - killed} ms`)
  const [{ page }] = people
  await page.goto('/agents')
  await page.waitForSelector('tr:has-text("other-agent") .badge:text-is("down")')
  await shot(page, 'team-outage')
  await Promise.all(people.map(({ end }) => end()))
}

async function logInByHeader (browser, bed) {
  const roles = { admins: ['admin', true, true], sre: ['operator', true, false], staff: ['viewer', false, false] }
  for (const [group, [role, maySwitch, maySeeUsers]] of Object.entries(roles)) {
    const headers = { 'x-test-user': `${role}@example.com`, 'x-test-groups': `all,${group}` }
    const { page, end } = await someone(browser, bed.base, { extraHTTPHeaders: headers })
    await page.goto('/agents/task-agent')
    assert.match(await page.textContent('.user'), new RegExp(`${role}@example\\.com\\s+${role}`))
    assert.equal(await page.locator('a:text-is("Switch all contexts")').count() > 0, maySwitch, role)
    assert.equal((await page.request.get('/users')).status(), maySeeUsers ? 200 : 403, role)
    await end()
  }
  const stranger = await someone(browser, bed.base, { extraHTTPHeaders: { 'x-test-user': 'eve', 'x-test-groups': 'guests' } })
  assert.equal((await stranger.page.request.get('/')).status(), 403)
  await stranger.end()
}

async function seeThemBack (browser, bed) {
  const { page, end } = await someone(browser, bed.base)
  let rows
  do {
    await new Promise((resolve) => setTimeout(resolve, 1000))
    rows = await models(page)
  } while (rows.some((row) => row.includes('gpt-5-mini')) && Date.now() < bed.switchedAt + (MINUTES * 60 + 60) * 1000)
  for (const id of IDS) assert.ok(rows.some((row) => row.includes(id) && /openai\/gpt-5(?!-mini)/.test(row)), `${id}: ${rows}`)
  console.log(`# all were back when looked at, ${Math.round((Date.now() - bed.switchedAt) / 1000)} s after they were switched for ${MINUTES * 60} s`)
  await page.goto(bed.job)
  await shot(page, 'team-job')
  await end()
}

const tests = (steps) => Object.fromEntries(Object.keys(beds).flatMap((name) =>
  Object.entries(steps).map(([what, run]) => [`team: ${what}, on ${name}`, async ({ browser }) => {
    running[name] ??= await beds[name]()
    await run(browser, running[name])
  }])))

module.exports = {
  // In between other tests run: the two minutes are not waited for.
  first: tests({
    'all contexts of an agent switched for two minutes': begin,
    'an outage is seen on every open page': seeOutage,
    'each role logs in by header': logInByHeader
  }),
  last: tests({ 'they are back': seeThemBack }),
  stop: () => Object.values(running).forEach((bed) => bed.stop())
}
