// With JavaScript off, and on a phone.
'use strict'
const assert = require('assert/strict')
const { open, shot } = require('./support')

module.exports = {
  async 'without JavaScript: swap, undo, search, log out' ({ browser, base }) {
    const { page, end } = await open(browser, base, { javaScriptEnabled: false })
    await page.goto('/switch')
    await page.fill('#context', 'browser-plain')
    await page.fill('#model', 'openai/gpt-5')
    await page.click('main form.form button[type=submit]')
    await page.waitForSelector('#receipt[data-outcome=verified]')
    await shot(page, 'receipt-without-javascript')
    await page.click('#receipt >> text=Undo')
    await page.waitForSelector('#receipt[data-outcome=verified]')
    await page.goto('/models')
    await page.fill('#q', 'claude')
    await page.click('form[role=search] button')
    assert.equal(await page.locator('#models tbody tr').count(), 1)
    await page.click('text=Log out')
    await page.waitForSelector('#password')
    await end()
  },

  async 'on a phone: the main job at 390 pixels' ({ browser, base }) {
    const { page, end } = await open(browser, base, { viewport: { width: 390, height: 780 }, hasTouch: true, isMobile: true })
    await page.goto('/switch')
    await page.fill('#context', 'browser-phone')
    await page.fill('#model', 'openai/gpt-5')
    await page.tap('main form.form button[type=submit]')
    await page.waitForSelector('#receipt[data-outcome=verified]')
    await shot(page, 'receipt-on-a-phone')
    await page.tap('#receipt >> text=Undo')
    await page.waitForSelector('#receipt[data-outcome=verified] >> text=gpt-5-mini')
    await end()
  }
}
