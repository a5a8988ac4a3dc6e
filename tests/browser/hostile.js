// Texts that would run, or break a page, wherever texts from elsewhere are shown: names, descriptions, aliases,
// labels, prompts, messages, answers, errors, addresses.
'use strict'
const fs = require('fs')
const path = require('path')
const assert = require('assert/strict')
const { open, swap, admin, LOGIN } = require('./support')

const CORPUS = fs.readFileSync(path.join(__dirname, 'xss.txt'), 'utf8').split('\n').filter(Boolean)
const BASIC = 'Basic ' + Buffer.from(`${LOGIN.username}:${LOGIN.password}`).toString('base64')

// What a page of ours never holds, and what a page is wherever it comes from.
const look = () => {
  const strange = 'iframe, object, embed, base, xss, plaintext, xmp, frameset, math, dialog:not(main dialog, #palette, #help), [onload], [onerror], [onfocus], [ontoggle], [onbegin], [onmouseover], [hx-on\\:load], [data-stream^="//"], [href^="javascript"], [href^="//"], [src^="//"], [action^="//"], [href*="://evil"], [src*="://evil"], [srcdoc]'
  return {
    strange: [...document.querySelectorAll(strange)].map((e) => e.outerHTML.slice(0, 200)),
    scripts: [...document.scripts].filter((s) => !new URL(s.src || 'x:').pathname.includes('/static/')).length,
    styles: document.querySelectorAll('style').length,
    mains: document.querySelectorAll('main').length,
    headings: document.querySelectorAll('h1').length,
    wide: document.documentElement.scrollWidth > innerWidth + 1
  }
}

module.exports = {
  async 'hostile texts are shown, and nothing runs' ({ demo, browser, base }) {
    assert.ok(CORPUS.length >= 200)
    const { page, end } = await open(browser, base)
    const ran = []
    await page.exposeFunction('hit', () => ran.push(page.url()))
    page.on('dialog', (dialog) => { ran.push(dialog.message()); dialog.dismiss() })
    const abroad = []
    page.on('request', (request) => { if (!request.url().startsWith(base)) abroad.push(request.url()) })

    const params = { model: 'gpt-5', custom_llm_provider: 'openai', api_key: 'os.environ/X' }
    const write = async (text) => {
      const model = await admin(demo, '/model/new', { model_name: text, litellm_params: params, model_info: { description: text, mode: text } })
      const key = await admin(demo, '/key/generate', { key_alias: text, models: [text], user_id: text, metadata: { note: text } })
      return { id: model.model_info?.id || model.model_id, hash: key.token || key.token_id }
    }
    const written = []
    for (let n = 0; n < CORPUS.length; n += 20) written.push(...await Promise.all(CORPUS.slice(n, n + 20).map(write)))
    const [ids, hashes] = [written.map(({ id }) => id), written.map(({ hash }) => hash)]
    const post = (address, form) => fetch(base + address, { method: 'POST', body: new URLSearchParams(form), headers: { accept: 'application/json', authorization: BASIC } })
    for (const [n, text] of CORPUS.entries()) {
      if (n % 20) continue
      await swap(base, `xss-${n}`, 'openai/gpt-5', text.slice(0, 500)).catch(() => {})
      await post('/switch', { agent: 'task-agent', context: `xss-${n}`, prompt: text })
      await post(`/contexts/task-agent/xss-${n}/describe`, { label: text.slice(0, 80) })
      await post('/keys', { alias: text, max_budget: text, models: text, access: 'list' })
    }

    const inAddress = (at) => CORPUS.filter((_, n) => n % 32 === at).map(encodeURIComponent)
    const addresses = [
      '/', '/contexts', '/switch', '/agents', '/agents/task-agent', '/audit', '/keys/new', '/keys/matrix', '/models/new',
      ...[1, 2, 3, 4, 5].flatMap((n) => [`/models?page=${n}`, `/keys?page=${n}`]),
      ...ids.filter((_, n) => n % 20 === 0).map((id) => `/models/${id}`),
      ...hashes.filter((_, n) => n % 20 === 5).flatMap((hash) => [`/keys/${hash}`, `/keys/${hash}/edit`]),
      ...CORPUS.map((_, n) => n).filter((n) => n % 20 === 0).map((n) => `/contexts/task-agent/xss-${n}`),
      ...inAddress(0).map((text) => `/models?q=${text}&provider=${text}&sort=${text}`),
      ...inAddress(1).map((text) => `/keys?q=${text}&model=${text}&state=${text}`),
      ...inAddress(2).map((text) => `/switch?agent=${text}&context=${text}&model=${text}`),
      ...inAddress(3).map((text) => `/login?next=${text}`),
      ...inAddress(4).map((text) => `/models/${text}`)
    ]
    for (const address of addresses) {
      const answer = await page.goto(address, { waitUntil: 'load' })
      assert.ok(answer.status() < 500, `${address}: ${answer.status()}`)
      const seen = await page.evaluate(look)
      assert.deepEqual({ ...seen, headings: 1 }, { strange: [], scripts: 0, styles: 0, mains: 1, headings: 1, wide: false }, address)
      assert.equal(seen.headings, 1, address)
    }

    // The same as a fragment that htmx puts into the page.
    await page.goto('/models')
    for (const text of CORPUS.filter((_, n) => n % 20 === 0)) {
      await page.fill('#q', text)
      const answer = page.waitForResponse((answer) => new URL(answer.url()).searchParams.get('q') === text.trim())
      await page.press('#q', 'Enter')
      await answer
      await page.waitForFunction(() => !document.querySelector('.htmx-request, .htmx-swapping, .htmx-settling'))
      assert.deepEqual((await page.evaluate(look)).strange, [])
    }

    // A phone is narrow: nothing pushes the page aside.
    await page.setViewportSize({ width: 390, height: 780 })
    for (const address of ['/models', '/keys', '/contexts', '/audit', `/models/${ids[0]}`]) {
      await page.goto(address)
      assert.equal((await page.evaluate(look)).wide, false, `${address} at 390 pixels`)
    }
    assert.deepEqual(ran, [], 'something ran')
    assert.deepEqual(abroad, [], 'something was fetched from elsewhere')
    await end()
  },

  async 'the policy refuses what a text could not do anyway' ({ browser, base }) {
    const { page, context } = await open(browser, base)
    const outcome = await page.evaluate(async () => {
      const refused = {}
      try { const s = document.createElement('script'); s.textContent = 'window.ranInline = 1'; document.body.append(s) } catch {}
      refused.inline = !window.ranInline
      try { const s = document.createElement('script'); s.src = 'data:text/javascript,window.ranData=1'; document.body.append(s) } catch {}
      await new Promise((resolve) => setTimeout(resolve, 200))
      refused.data = !window.ranData
      // Not before the pause: what the debugger runs itself may do anything.
      try { (0, eval)('1') } catch { refused.eval = true }
      refused.types = !window.trustedTypes || !!window.trustedTypes.defaultPolicy
      return refused
    })
    assert.deepEqual(outcome, { inline: true, data: true, eval: true, types: true })
    await context.close()
  }
}
