// The main job, as people do it.
'use strict'
const assert = require('assert/strict')
const { open, shot, swap } = require('./support')

module.exports = {
  async 'the main job: swap, see the receipt, undo' ({ browser, base }) {
    const { page, end } = await open(browser, base)
    await page.click('nav[aria-label=Main] >> text=Switch')
    await page.fill('#context', 'browser-job')
    await page.fill('#model', 'openai/gpt-5')
    await page.fill('#message', 'Which model am I using?')
    await page.click('main form.form button[type=submit]')
    await page.waitForSelector('#receipt[data-outcome=proven]')
    assert.match(await page.textContent('#receipt'), /openai\/gpt-5/)
    await shot(page, 'receipt')
    await page.click('#receipt >> text=Undo')
    await page.waitForSelector('#receipt[data-outcome=verified]')
    assert.match(await page.textContent('#receipt .before-after'), /gpt-5-mini/)
    await end()
  },

  async 'an answer comes in as it is said' ({ browser, base }) {
    await swap(base, 'browser-answer', 'openai/gpt-5')
    const { page, end } = await open(browser, base)
    await page.goto('/contexts/task-agent/browser-answer')
    await page.fill('#message', 'Tell me something long about cables, please.')
    await page.click('#asks button[type=submit]')
    // Its stream begins in place, and ends with what the model was.
    await page.waitForSelector('#asks [data-stream]')
    await page.waitForSelector('#asks figure:not([aria-busy]) figcaption code')
    await shot(page, 'streamed-answer')
    await end()
  }
}
