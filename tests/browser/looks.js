// What a picture would show and axe-core does not see: rows that are rows, lists that stay short, the newest first.
'use strict'
const assert = require('assert/strict')
const { open, admin, swap } = require('./support')
const { startRich, contextName } = require('./rich')

const boxes = (page, selector) => page.locator(selector).evaluateAll((all) => all.map((e) => { const { top, height, width } = e.getBoundingClientRect(); return { top, height, width } }))

// How many rows are wholly on the screen.
const rowsOnScreen = (page, table) => page.locator(`${table} tbody tr`).evaluateAll((all) => all.filter((row) => row.getBoundingClientRect().bottom <= innerHeight).length)

// Texts that lie on one another. What is cut off by an edge does not count, nor what stays in place while the page scrolls.
const overlaps = () => {
  const boxes = []
  const walker = document.createTreeWalker(document.querySelector('main'), NodeFilter.SHOW_TEXT)
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement
    if (!node.data.trim() || element.closest('.sr, datalist, option, thead, [hidden], .selection, .matrix th')) continue
    if (!element.checkVisibility({ visibilityProperty: true, opacityProperty: true })) continue
    const range = document.createRange()
    range.selectNodeContents(node)
    for (const { left, top, right, bottom } of range.getClientRects()) {
      const box = { left, top, right, bottom, node, text: node.data.trim().slice(0, 40) }
      for (let outer = element; outer; outer = outer.parentElement) {
        if (getComputedStyle(outer).overflowX === 'visible') continue
        const edge = outer.getBoundingClientRect()
        box.left = Math.max(box.left, edge.left)
        box.right = Math.min(box.right, edge.right)
        box.top = Math.max(box.top, edge.top)
        box.bottom = Math.min(box.bottom, edge.bottom)
      }
      if (box.right - box.left > 2 && box.bottom - box.top > 2) boxes.push(box)
    }
  }
  boxes.sort((a, b) => a.top - b.top)
  const found = []
  for (const [n, one] of boxes.entries()) {
    for (let m = n + 1; m < boxes.length && boxes[m].top < one.bottom - 3; m++) {
      const other = boxes[m]
      const width = Math.min(one.right, other.right) - Math.max(one.left, other.left)
      const height = Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top)
      if (one.node !== other.node && width > 2 && height > 3) found.push(`“${one.text}” and “${other.text}”`)
    }
  }
  return found.slice(0, 5)
}

module.exports = {
  async 'looks: with a team\'s data the tables are dense, lists short, and nothing overlaps' ({ browser }) {
    const rich = await startRich()
    console.log(`# seeded in ${rich.took} ms${rich.isAged ? '' : `, without a past: ${rich.problem}`}`)
    try {
      const { page, end } = await open(browser, rich.base)
      const tables = [['/models', '#models'], ['/keys', '#keys'], ['/contexts', '#contexts']]
      for (const [size, least] of [['normal', 16], ['compact', 22]]) {
        if (size === 'compact') {
          await page.goto('/keys')
          await page.click('button[name=rows][value=compact]')
          await page.waitForSelector('html[data-rows=compact]')
        }
        for (const [address, table] of tables) {
          await page.goto(address)
          const rows = await rowsOnScreen(page, table)
          console.log(`# ${address}, ${size}: ${rows} rows`)
          assert.ok(rows >= least, `${address}: ${rows} ${size} rows on a screen`)
        }
      }
      await page.click('button[name=rows][value=normal]')
      await page.waitForSelector('html[data-rows=normal]')
      const cut = []
      for (const address of ['/models', '/keys', '/contexts', '/audit', '/calls', '/usage']) {
        await page.goto(address)
        for (const width of [1024, 1280, 1366]) {
          await page.setViewportSize({ width, height: 900 })
          const beyond = await page.locator('.table-box').evaluateAll((all) => all.map((box) => Math.round(box.firstElementChild.getBoundingClientRect().width - box.clientWidth)))
          if (Math.max(...beyond) > 1) cut.push(`${address} at ${width}: ${beyond} pixels beyond the edge`)
        }
      }
      assert.equal(cut.join('\n'), '')
      await page.setViewportSize({ width: 390, height: 844 })
      await page.goto('/keys?size=50')
      const height = await page.evaluate(() => document.documentElement.scrollHeight)
      console.log(`# 50 keys on a phone: ${height} pixels`)
      assert.equal(await page.locator('#keys tbody tr').count(), 50)
      assert.ok(height < 5000, `50 keys are ${height} pixels high`)
      const first = async (address, selector) => { await page.goto(address); return page.getAttribute(selector, 'href') }
      const drifted = await first('/contexts?state=drifted', '#contexts tbody th a')
      const key = await first('/keys?q=web-prod', '#keys tbody th a')
      const model = await first('/models?q=bedrock', '#models tbody th a')
      const failed = await first('/calls?status=failed', '#calls tbody th a')
      const addresses = [
        '/', '/models', model, '/models/new', '/keys', key, `${key}/edit`, '/keys/new', '/keys/matrix', '/contexts', drifted,
        `/contexts/support-agent/${contextName(81)}`, '/switch', '/agents', '/agents/support-agent', '/usage', '/usage?by=key', '/calls', failed, '/audit', '/users', '/settings', '/search?q=gpt', '/help'
      ]
      const findings = []
      for (const width of [360, 1440]) {
        await page.setViewportSize({ width, height: 900 })
        for (const address of addresses) {
          await page.goto(address)
          for (const found of await page.evaluate(overlaps)) findings.push(`${address} at ${width}: ${found}`)
          if (await page.evaluate(() => document.documentElement.scrollWidth > innerWidth + 1)) findings.push(`${address}: scrolls sideways at ${width}`)
        }
      }
      assert.equal(findings.join('\n'), '')
      await end()
    } finally {
      await rich.stop()
    }
  },

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
