// Theme, palette, keys, quick swaps, times: what JavaScript adds.
'use strict'
const assert = require('assert/strict')
const { open, axe, shot, swap } = require('./support')

module.exports = {
  async 'the theme is chosen without a reload, and stays' ({ browser, base }) {
    const { page, end } = await open(browser, base, { colorScheme: 'light' })
    const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor)
    const light = await background()
    await page.click('.theme button[value=dark]')
    await page.waitForFunction(() => document.documentElement.dataset.theme === 'dark')
    const dark = await background()
    assert.notEqual(dark, light)
    await page.goto('/models')
    assert.equal(await background(), dark)
    await page.click('.theme button[value=system]')
    await page.waitForFunction(() => document.documentElement.dataset.theme === 'system')
    await page.reload()
    assert.equal(await background(), light)
    await end()
  },

  async 'without JavaScript the theme is chosen as well' ({ browser, base }) {
    const { page, end } = await open(browser, base, { javaScriptEnabled: false })
    await page.goto('/models?q=gpt')
    await page.click('.theme button[value=dark]')
    await page.waitForSelector('html[data-theme=dark]')
    assert.equal(new URL(page.url()).search, '?q=gpt')
    await page.fill('#find', 'usage')
    await page.press('#find', 'Enter')
    await page.click('a.found[href="/usage"]')
    await page.waitForSelector('h1:has-text("Usage")')
    await end()
  },

  async 'palette: opened by a key, it finds, and Enter goes there' ({ browser, base }) {
    await swap(base, 'browser-palette', 'openai/gpt-5')
    const { page, end } = await open(browser, base)
    await page.keyboard.press('/')
    await page.waitForSelector('#palette[open] [role=option]')
    await page.keyboard.type('browser-palette')
    await page.waitForSelector('#palette [aria-selected=true][href="/contexts/task-agent/browser-palette"]')
    assert.deepEqual(await axe(page), [])
    await shot(page, 'palette')
    await page.keyboard.press('Enter')
    await page.waitForURL('**/contexts/task-agent/browser-palette')
    await page.keyboard.press('Control+k')
    await page.waitForSelector('#palette[open]')
    await page.keyboard.type('zzzz')
    await page.waitForSelector('#palette .empty')
    assert.deepEqual(await axe(page), [])
    await page.keyboard.press('Escape')
    await page.waitForSelector('#palette', { state: 'hidden' })
    await end()
  },

  async 'keys: a help sheet, places, and a way to switch them off' ({ browser, base }) {
    const { page, end } = await open(browser, base)
    await page.keyboard.press('?')
    await page.waitForSelector('#help[open]')
    assert.deepEqual(await axe(page), [])
    await shot(page, 'help-sheet')
    await page.keyboard.press('Escape')
    await page.keyboard.press('g')
    await page.keyboard.press('m')
    await page.waitForURL('**/models')
    await page.keyboard.press('?')
    await page.uncheck('#single-keys')
    await page.keyboard.press('Escape')
    await page.keyboard.press('/')
    assert.equal(await page.locator('#palette[open]').count(), 0)
    await page.keyboard.press('Control+k')
    await page.waitForSelector('#palette[open]')
    await end()
  },

  async 'a frequent swap takes two keys from opening, and no time' ({ browser, base }) {
    await swap(base, 'browser-quick', 'openai/gpt-5')
    const { page, end } = await open(browser, base)
    const began = Date.now()
    await page.goto('/switch')
    await page.waitForSelector('.pairs button')
    const at = await page.locator('.pairs button').evaluateAll((all) => all.findIndex((b) => b.textContent.includes('browser-quick')))
    await page.keyboard.press(String(at + 1))
    await page.keyboard.press('Enter')
    await page.waitForSelector('#receipt[data-outcome=verified]')
    const took = Date.now() - began
    console.log(`# from opening to done: ${took} ms, 2 keys`)
    // Less than a second on a machine that does nothing else; five are allowed, and more where it is busy.
    assert.ok(took < 20000, `${took} ms`)
    assert.match(await page.textContent('#receipt .before-after'), /gpt-5-mini/)
    await page.keyboard.press('u')
    await page.keyboard.press('Enter')
    await page.waitForSelector('#receipt[data-outcome=verified] .before-after div:last-child >> text=/openai.gpt-5$/')
    await end()
  },

  async 'times are local with UTC beside them, texts are copied, secrets are masked' ({ browser, base }) {
    const { page, context, end } = await open(browser, base, { timezoneId: 'Asia/Tokyo', locale: 'en-GB' })
    await context.grantPermissions(['clipboard-read', 'clipboard-write'])
    await page.goto('/audit')
    assert.match(await page.getAttribute('#audit time', 'title'), /UTC/)
    assert.doesNotMatch(await page.textContent('#audit time'), /UTC/)
    await page.goto('/models')
    await page.click('#models tbody a')
    await page.click('.copy')
    await page.waitForSelector('.toast')
    assert.match(await page.evaluate(() => navigator.clipboard.readText()), /^[0-9a-f-]{36}$/)
    await page.goto('/keys/new')
    await page.fill('#alias', 'browser-masked')
    await page.click('main form.form button.primary')
    await page.waitForSelector('#secret[type=password]')
    await page.click('.reveal button')
    await page.waitForSelector('#secret[type=text]')
    await end()
  },

  async 'what was typed into a form is not lost by a wrong click' ({ browser, base }) {
    const { page, end } = await open(browser, base)
    await page.goto('/models/new')
    await page.fill('#name', 'openai/half-typed')
    const asked = new Promise((resolve) => page.once('dialog', (dialog) => dialog.dismiss().then(() => resolve(dialog.type()))))
    await page.click('nav[aria-label=Main] >> text=Keys', { noWaitAfter: true })
    assert.equal(await asked, 'beforeunload')
    assert.equal(await page.inputValue('#name'), 'openai/half-typed')
    page.once('dialog', (dialog) => dialog.accept())
    await end()
  },

  async 'with forced colours and at 200 % the main job is in sight' ({ browser, base }) {
    const { page, end } = await open(browser, base, { forcedColors: 'active', reducedMotion: 'reduce', viewport: { width: 720, height: 450 } })
    for (const address of ['/', '/switch', '/usage', '/keys']) {
      await page.goto(address)
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth + 1), address)
      assert.deepEqual(await axe(page), [])
    }
    await shot(page, 'forced-colours')
    await end()
  }
}
