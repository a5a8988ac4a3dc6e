// Without a mouse.
'use strict'
const assert = require('assert/strict')
const { open, swap } = require('./support')

// Tabs until the focus is on what `selector` finds, and says whether it shows.
async function tabTo (page, selector, most = 60) {
  for (let i = 0; i < most; i++) {
    await page.keyboard.press('Tab')
    const [is, outline] = await page.evaluate((s) => [document.activeElement.matches(s), getComputedStyle(document.activeElement).outlineStyle], selector)
    if (is) return assert.notEqual(outline, 'none', `${selector} shows no focus`)
  }
  assert.fail(`${selector} was not reached in ${most} tabs`)
}

module.exports = {
  async 'keyboard: log in, switch and undo without a mouse' ({ browser, base }) {
    const { page, end } = await open(browser, base, { login: false })
    await page.goto('/')
    // A busy browser gives the focus a moment after the page.
    await page.waitForFunction(() => document.activeElement.name === 'username')
    await page.keyboard.type('fuzzforge')
    await page.keyboard.press('Tab')
    await page.keyboard.type('fuzzforge123')
    await page.keyboard.press('Enter')
    await page.waitForSelector('nav[aria-label=Main]')
    await page.keyboard.press('Tab')
    assert.match(await page.evaluate(() => document.activeElement.textContent), /Skip to the content/)
    await tabTo(page, 'nav a[href="/switch"]')
    await page.keyboard.press('Enter')
    await page.waitForURL('**/switch')
    await tabTo(page, '#context')
    await page.keyboard.type('browser-keyboard')
    await tabTo(page, '#model')
    await page.keyboard.type('openai/gpt-5')
    await page.keyboard.press('Enter')
    await page.waitForSelector('#receipt[data-outcome=verified]')
    await tabTo(page, '#receipt form button')
    await page.keyboard.press('Enter')
    await page.waitForSelector('#receipt[data-outcome=verified] >> text=gpt-5-mini')
    await end()
  },

  async 'keyboard: a form begins at its first field, a message is sent from its box' ({ browser, base }) {
    await swap(base, 'browser-keys', 'openai/gpt-5')
    const { page, end } = await open(browser, base)
    for (const [address, field] of [['/keys/new', 'alias'], ['/models/new', 'name']]) {
      await page.goto(address)
      await page.waitForFunction((id) => document.activeElement.id === id, field)
    }
    await page.goto('/contexts/task-agent/browser-keys')
    await page.focus('#message')
    await page.keyboard.type('Hello')
    await page.keyboard.press('Control+Enter')
    await page.waitForSelector('#asks .answer:has-text("I am gpt-5")')
    assert.equal(await page.inputValue('#message'), '')
    await end()
  }
}
