// Every page, in both themes and at three widths: axe-core, sideways scrolling, and a picture of each.
'use strict'
const assert = require('assert/strict')
const { open, axe, shot, swap } = require('./support')

const WIDTHS = [1440, 1024, 390]

async function look (page, address, findings) {
  const answer = await page.goto(address)
  if (answer.status() >= 400 && address !== '/no-such-page') findings.push(`${address}: status ${answer.status()}`)
  const name = address === '/' ? 'overview' : address.slice(1).replace(/[^\w.-]+/g, '-').slice(0, 60)
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme })
    for (const width of WIDTHS) {
      await page.setViewportSize({ width, height: 900 })
      if (await page.evaluate(() => document.documentElement.scrollWidth > innerWidth + 1)) findings.push(`${address}: scrolls sideways at ${width}`)
      await shot(page, `${name}-${width}-${colorScheme}`)
      if (width !== 1024) for (const found of await axe(page)) findings.push(`${address} (${width}, ${colorScheme}): ${found}`)
    }
  }
}

module.exports = {
  async 'pages: axe finds nothing, nothing scrolls sideways' ({ browser, base }) {
    const done = await swap(base, 'browser-pages', 'openai/gpt-5', 'Which model am I using?')
    // Without motion: colours that are on their way have no contrast yet.
    const { page, end } = await open(browser, base, { reducedMotion: 'reduce' })
    const first = async (address, selector) => { await page.goto(address); return page.getAttribute(selector, 'href') }
    const model = await first('/models', '#models tbody a')
    const key = await first('/keys', '#keys tbody a')
    const addresses = [
      '/', '/compare', '/bulk/new', '/danger', '/models', '/models/new', '/models/import', model, `${model}/edit`, `${model}/delete`,
      '/keys', '/keys/new', '/keys/matrix', key, `${key}/edit`, `${key}/replace`,
      '/switch', `/switch?agent=task-agent&context=browser-pages&swap=${done.id}`,
      '/contexts', '/contexts/task-agent/browser-pages', '/agents', '/agents/task-agent', '/audit', '/usage', '/calls', '/search', '/search?q=gpt', '/search?q=zzzz', '/help', '/styleguide', '/no-such-page'
    ]
    const findings = []
    for (const address of addresses) await look(page, address, findings)
    const out = await open(browser, base, { login: false, reducedMotion: 'reduce' })
    await look(out.page, '/login', findings)
    assert.equal(findings.join('\n'), '')
    await out.end()
    await end()
  }
}
