// Two people at once, and what happens on a page without anybody loading it again.
'use strict'
const assert = require('assert/strict')
const { admin, open, shot, swap } = require('./support')

// Long enough for a machine that does much else; what it took is told.
const SOON = 5000

// How long it takes from now until `selector` is on the page.
async function until (page, selector, what) {
  const began = Date.now()
  await page.waitForSelector(selector, { timeout: SOON })
  console.log(`# ${what}: ${Date.now() - began} ms`)
}

async function switchTo (page, context, model) {
  await page.goto('/switch')
  await page.fill('#context', context)
  await page.fill('#model', model)
  await page.click('main form.form button[type=submit]')
  await page.waitForSelector('#receipt[data-outcome=verified]')
}

module.exports = {
  async 'live: a swap by one shows at the other, who loses no typing' ({ browser, base }) {
    await swap(base, 'browser-live', 'openai/gpt-5')
    const [one, other] = [await open(browser, base), await open(browser, base)]
    await other.page.goto('/contexts/task-agent/browser-live')
    await other.page.fill('#message', 'Half a question')
    await switchTo(one.page, 'browser-live', 'anthropic/claude-sonnet-4-5')
    await until(other.page, 'section[aria-labelledby=now] code:text-is("anthropic/claude-sonnet-4-5")', 'a swap of another, seen')
    assert.equal(await other.page.inputValue('#message'), 'Half a question')
    // A row more in the list of swaps would move what is read: it waits for a click.
    await until(other.page, '.strip:not([hidden]) button', 'what waits, offered')
    assert.match(await other.page.textContent('.strip'), /1 change by fuzzforge/)
    await shot(other.page, 'live-strip')
    await other.page.click('.strip button')
    await other.page.waitForSelector('.timeline code:text-is("anthropic/claude-sonnet-4-5")')
    assert.equal(await other.page.inputValue('#message'), 'Half a question')
    other.page.once('dialog', (dialog) => dialog.accept())
    await other.end()
    await one.end()
  },

  async 'live: a model that one blocks is marked at the other' ({ browser, base }) {
    const [one, other] = [await open(browser, base), await open(browser, base)]
    await other.page.goto('/models')
    await one.page.goto('/models')
    await one.page.click('#models a:text-is("openai/gpt-5-mini")')
    await one.page.click('button:text-is("Block")')
    await one.page.waitForSelector('button:text-is("Unblock")')
    await until(other.page, '.strip:not([hidden]) button, #models .badge:text-is("blocked")', 'a model of another, told')
    if (await other.page.isVisible('.strip button')) await other.page.click('.strip button')
    await other.page.waitForSelector('#models .badge:text-is("blocked")')
    await one.page.click('button:text-is("Unblock")')
    await one.page.waitForSelector('button:text-is("Block")')
    await other.end()
    await one.end()
  },

  async 'live: what the proxy was told by others shows on a page that was there at once' ({ browser, base, demo }) {
    const { page, end } = await open(browser, base)
    await page.goto('/models?q=behind-its-back')
    const model = { model_name: 'behind-its-back', litellm_params: { model: 'gpt-5', custom_llm_provider: 'openai', api_key: 'os.environ/X' } }
    await admin(demo, '/model/new', model)
    // Some seconds later the copy is old enough to be renewed. The page that has it done was made of the old one.
    let made
    do { made = await (await page.goto('/models?q=behind-its-back')).text() } while (!made.includes('data-renews'))
    assert.ok(!made.includes('data-name="behind-its-back"'))
    await until(page, '#models tr[data-name="behind-its-back"], .strip:not([hidden]) button', 'a model behind our back, told')
    if (await page.isVisible('.strip button')) await page.click('.strip button')
    await page.waitForSelector('#models tr[data-name="behind-its-back"]')
    await end()
  },

  async 'live: your own swap shows with all that goes with it, without a strip' ({ browser, base }) {
    const { page, end } = await open(browser, base)
    await switchTo(page, 'browser-own', 'openai/gpt-5')
    await page.waitForSelector('section[aria-labelledby=recent] a:text-is("browser-own")')
    await page.waitForSelector('.strip[hidden]', { state: 'attached' })
    await end()
  },

  async 'live: an answer grows while it is said' ({ browser, base }) {
    await swap(base, 'browser-grows', 'openai/gpt-5')
    const { page, end } = await open(browser, base)
    await page.goto('/contexts/task-agent/browser-grows')
    await page.evaluate(() => {
      window.seen = []
      new MutationObserver(() => window.seen.push(document.querySelector('#asks figure .answer:not(.muted)')?.textContent.length ?? 0))
        .observe(document.getElementById('content'), { subtree: true, childList: true, characterData: true })
    })
    await page.fill('#message', 'Tell me something long: WORDS=60')
    await page.click('#asks button[type=submit]')
    await page.waitForSelector('#asks figure:not([aria-busy]) figcaption code')
    const lengths = [...new Set(await page.evaluate(() => window.seen))].filter(Boolean)
    assert.ok(lengths.length >= 2, `the answer came at once: ${lengths}`)
    assert.deepEqual(lengths, [...lengths].sort((a, b) => a - b))
    await end()
  },

  async 'live: times keep up' ({ browser, base }) {
    await swap(base, 'browser-times', 'openai/gpt-5')
    const { page, end } = await open(browser, base)
    await page.clock.install()
    await page.goto('/')
    const time = page.locator('section[aria-labelledby=swaps] time').first()
    await page.clock.runFor('03:00')
    assert.match(await time.textContent(), /^[34] min ago$/)
    assert.match(await time.getAttribute('title'), /UTC/)
    await end()
  }
}
