// What a picture would show and axe-core does not see: rows that are rows, lists that stay short, the newest first.
'use strict'
const assert = require('assert/strict')
const { open, admin, swap } = require('./support')

const boxes = (page, selector) => page.locator(selector).evaluateAll((all) => all.map((e) => { const { top, height, width } = e.getBoundingClientRect(); return { top, height, width } }))

module.exports = {
  async 'looks: the colours are chosen in one row, at the login too' ({ browser, base }) {
    const { page, end } = await open(browser, base, { login: false })
    for (const width of [1440, 390]) {
      await page.setViewportSize({ width, height: 900 })
      await page.goto('/login')
      const tops = new Set((await boxes(page, '.theme button')).map(({ top }) => top))
      assert.equal(tops.size, 1, `${[...tops]} at ${width}`)
    }
    await end()
  },

  async 'looks: the fields of a filter are of one height, and stand in one line on a wide screen' ({ browser, base }) {
    const { page, end } = await open(browser, base)
    for (const address of ['/models', '/keys', '/keys/matrix', '/contexts', '/audit']) {
      for (const width of [1440, 1024]) {
        await page.setViewportSize({ width, height: 900 })
        await page.goto(address)
        const fields = await boxes(page, '.filters :is(input:not([type=hidden]), select)')
        assert.equal(new Set(fields.map(({ height }) => Math.round(height))).size, 1, `${address} at ${width}: ${fields.map(({ height }) => height)}`)
        if (width === 1440) assert.equal(new Set(fields.map(({ top }) => Math.round(top))).size, 1, `${address}: more than one line`)
      }
    }
    await end()
  },

  async 'looks: the rows of a table keep to two lines' ({ browser, base }) {
    await swap(base, 'browser-looks-with-a-name', 'anthropic/claude-sonnet-4-5', 'Which model am I using?')
    const { page, end } = await open(browser, base)
    for (const [address, row] of [['/contexts?q=browser-looks', '#contexts tbody tr'], ['/models?q=claude', '#models tbody tr'], ['/keys?q=task-agent', '#keys tbody tr']]) {
      await page.goto(address)
      for (const { height } of await boxes(page, row)) assert.ok(height <= 72, `${address}: ${height} pixels`)
    }
    await end()
  },

  async 'looks: pages that tell of many things show the first, and lead to the rest' ({ demo, browser, base }) {
    for (let n = 0; n < 12; n++) {
      await swap(base, `browser-many-${n}`, 'openai/gpt-5')
      await admin(demo, '/key/generate', { key_alias: `browser-many-${n}`, models: ['openai/gpt-5'] })
    }
    const { page, end } = await open(browser, base)
    await page.goto('/agents/task-agent')
    assert.equal(await page.locator('section[aria-labelledby=contexts] li').count(), 10)
    await page.click('a:text-is("All contexts")')
    await page.waitForURL('**/contexts?q=task-agent')
    await page.goto('/models?q=gpt-5')
    await page.click('#models tbody tr[data-name="openai/gpt-5"] a')
    await page.waitForSelector('section[aria-labelledby=keys]')
    assert.ok(await page.locator('section[aria-labelledby=keys] li').count() <= 10)
    await end()
  },

  async 'looks: the last calls of a key stand with the newest first' ({ browser, base }) {
    const { page, end } = await open(browser, base)
    await page.goto('/keys?q=task-agent')
    await page.click('#keys tbody a')
    const times = await page.locator('#last-calls time').evaluateAll((all) => all.map((time) => Date.parse(time.dateTime)))
    assert.ok(times.length > 1)
    assert.deepEqual(times, [...times].sort((a, b) => b - a))
    await end()
  },

  async 'looks: help lists what it has, and leads there' ({ browser, base }) {
    const { page, end } = await open(browser, base)
    await page.goto('/help')
    const [listed, told] = [await page.locator('.contents li').count(), await page.locator('.guide section').count()]
    assert.ok(listed > 0 && listed === told, `${listed} of ${told}`)
    await page.click('.contents >> text=Undo a swap')
    await page.waitForURL('**/help#undo')
    assert.ok((await page.locator('#undo').boundingBox()).y < 100)
    await end()
  }
}
