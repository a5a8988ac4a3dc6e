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

  async 'a frequent swap takes two keys from opening, and less than five seconds' ({ browser, base }) {
    await swap(base, 'browser-quick', 'openai/gpt-5')
    const { page, end } = await open(browser, base)
    let keys
    const press = (key) => { keys += 1; return page.keyboard.press(key) }
    // The best of three, since other things may run on the machine.
    const took = []
    while (took.length < 3 && !(Math.min(...took) < 5000)) {
      const began = Date.now()
      keys = 0
      await page.goto('/switch')
      await page.waitForSelector('.pairs button')
      const at = await page.locator('.pairs button').evaluateAll((all) => all.findIndex((b) => b.textContent.includes('browser-quick')))
      await press(String(at + 1))
      await press('Enter')
      await page.waitForSelector('#receipt[data-outcome=verified]')
      took.push(Date.now() - began)
    }
    console.log(`# from opening to done: ${took} ms, ${keys} keys`)
    assert.ok(Math.min(...took) < 5000 && keys <= 3, `${took} ms, ${keys} keys`)
    const [before, after] = await page.locator('#receipt .before-after code').allTextContents()
    await press('u')
    await press('Enter')
    await page.waitForFunction((former) => {
      const shown = [...document.querySelectorAll('#receipt[data-outcome=verified] .before-after code')]
      return shown.length === 2 && shown[1].textContent === former
    }, before)
    assert.notEqual(before, after)
    await end()
  },

  async 'times are local with UTC beside them, texts are copied, secrets are masked' ({ browser, base }) {
    const { page, context, end } = await open(browser, base, { timezoneId: 'Asia/Tokyo', locale: 'en-GB' })
    await context.grantPermissions(['clipboard-read', 'clipboard-write'])
    await page.goto('/audit')
    assert.match(await page.getAttribute('#audit time', 'title'), /UTC/)
    assert.doesNotMatch(await page.textContent('#audit time'), /UTC/)
    await page.goto('/keys')
    await page.hover('#keys time')
    assert.match(await page.getAttribute('#keys time', 'title'), /^\d\d\/\d\d\/\d{4}, .+ \(.+ UTC\)$/)
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
    await swap(base, 'browser-typed', 'openai/gpt-5')
    const { page, end } = await open(browser, base)
    const first = async (address, selector) => { await page.goto(address); return page.getAttribute(selector, 'href') }
    const model = await first('/models', '#models tbody a')
    const key = await first('/keys', '#keys tbody a')
    const forms = [
      ['/models/new', '#name'], ['/models/import', '#yaml'], [`${model}/edit`, '#description'],
      ['/keys/new', '#alias'], [`${key}/edit`, '#alias'], ['/compare', '#message'], ['/bulk/new', '#ids'],
      ['/switch', '#prompt'], ['/contexts/task-agent/browser-typed', '#message'], ['/contexts/task-agent/browser-typed', '#label']
    ]
    for (const [address, field] of forms) {
      await page.goto(address)
      await page.evaluate(() => document.querySelectorAll('main details').forEach((part) => { part.open = true }))
      await page.fill(field, 'half-typed')
      const asked = new Promise((resolve) => page.once('dialog', (dialog) => dialog.dismiss().then(() => resolve(dialog.type()))))
      await page.click('nav[aria-label=Main] >> text=Usage', { noWaitAfter: true })
      assert.equal(await asked, 'beforeunload', address)
      assert.equal(await page.inputValue(field), 'half-typed', address)
      page.once('dialog', (dialog) => dialog.accept())
      await page.click('nav[aria-label=Main] >> text=Usage')
      await page.waitForURL('**/usage')
    }
    await end()
  },

  async 'a button that is pressed twice sends once' ({ browser, base }) {
    const { page, end } = await open(browser, base)
    const sent = []
    page.on('request', (request) => { if (request.method() === 'POST') sent.push(new URL(request.url()).pathname) })
    await page.goto('/keys/new')
    await page.fill('#alias', 'browser-twice')
    await page.dblclick('main form.form button.primary')
    await page.waitForSelector('#secret')
    await page.goto('/switch')
    await page.fill('#context', 'browser-twice')
    await page.fill('#model', 'openai/gpt-5')
    await page.dblclick('main form.form button[type=submit]')
    await page.waitForSelector('#receipt[data-outcome=verified]')
    assert.deepEqual(sent, ['/keys', '/switch'])
    await end()
  },

  async 'a form that could not be sent can be sent again' ({ browser, base }) {
    const { page, context } = await open(browser, base)
    await page.goto('/switch')
    await page.route('**/switch', (route) => route.request().method() === 'POST' ? route.abort() : route.continue())
    await page.fill('#context', 'browser-again')
    await page.fill('#model', 'openai/gpt-5')
    const button = page.locator('main form.form button.primary')
    await button.click()
    await page.waitForSelector('.toast:has-text("Patchbay does not answer")')
    await page.waitForFunction(() => document.querySelector('main form.form:not([aria-busy]) button.primary')?.textContent.trim() === 'Switch')
    await page.unroute('**/switch')
    await button.click()
    await page.waitForSelector('#receipt[data-outcome=verified]')
    await context.close()
  },

  async 'what has no value says why' ({ browser, base }) {
    const { page, end } = await open(browser, base)
    let seen = 0
    for (const address of ['/', '/keys', '/models', '/contexts']) {
      await page.goto(address)
      for (const [dash, why, said] of await page.locator('.none').evaluateAll((all) => all.map((e) => [e.firstChild.data, e.title, e.querySelector('.sr').textContent.trim()]))) {
        assert.equal(dash, '—')
        assert.ok(why && why === said, address)
        seen += 1
      }
      const bare = await page.locator('td:has-text("null"), td:has-text("undefined"), td:has-text("NaN")').count()
      assert.equal(bare, 0, address)
    }
    assert.ok(seen > 0)
    await end()
  },

  async 'with forced colours, without motion and at 200 % every page is in sight' ({ browser, base }) {
    await swap(base, 'browser-zoom', 'openai/gpt-5')
    const { page, end } = await open(browser, base, { forcedColors: 'active', reducedMotion: 'reduce', viewport: { width: 720, height: 450 } })
    for (const address of ['/', '/switch', '/compare', '/contexts', '/contexts/task-agent/browser-zoom', '/bulk/new', '/models', '/models/new', '/keys', '/keys/new', '/usage', '/calls', '/agents', '/agents/task-agent', '/audit', '/help', '/danger']) {
      await page.goto(address)
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth + 1), address)
      assert.equal(await page.evaluate(() => document.getAnimations().length), 0, address)
      assert.deepEqual(await axe(page), [])
    }
    await page.keyboard.press('/')
    await page.waitForSelector('#palette[open] [role=option]')
    await shot(page, 'forced-colours')
    await end()
  }
}
