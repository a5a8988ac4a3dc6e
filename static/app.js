// Small comforts, each in a section of its own; everything works without them.
'use strict'

// Pieces of pages come as HTML from our own server. Nothing makes a script or a script's address of a text.
if (window.trustedTypes) window.trustedTypes.createPolicy('default', { createHTML: (html) => html })

const all = (selector, root = document) => root.querySelectorAll(selector)
const isTyping = (target) => target.closest('input:not([type="checkbox"], [type="radio"]), textarea, select, [contenteditable]')

// --- Said in passing: read out, and gone again.

const toast = (text) => {
  const note = document.createElement('div')
  note.className = 'toast'
  note.textContent = text
  document.getElementById('toasts')?.append(note)
  setTimeout(() => note.remove(), 4000)
}

// --- A form is sent once: the button says that it is under way.

document.addEventListener('submit', (event) => {
  const form = event.target
  if (!form.matches('form[data-once]')) return
  if (form.dataset.sent) { event.preventDefault(); return }
  form.dataset.sent = '1'
  form.setAttribute('aria-busy', 'true')
  const button = event.submitter
  if (button && form.dataset.once) button.lastChild.textContent = form.dataset.once
})

// htmx sends some forms itself, and leaves them in place where that fails.
document.addEventListener('htmx:afterRequest', (event) => {
  const form = event.target.closest('form[data-sent]')
  if (form) { delete form.dataset.sent; form.removeAttribute('aria-busy') }
})

// Back in the browser may bring the page as it was left: a form can be sent again.
addEventListener('pageshow', (event) => {
  if (!event.persisted) return
  for (const form of all('form[data-sent]')) { delete form.dataset.sent; form.removeAttribute('aria-busy') }
})

// --- What was typed into a long form is not lost by a wrong click.

const isChanged = () => [...all('[data-guard][data-changed]')].some((part) => !part.closest('form[data-sent]'))
document.addEventListener('input', (event) => {
  const part = event.target.closest('[data-guard]')
  if (part) part.dataset.changed = '1'
})
document.addEventListener('submit', (event) => {
  if (event.defaultPrevented) return
  for (const part of [event.target, ...all('[data-changed]', event.target)]) delete part.dataset.changed
})
addEventListener('beforeunload', (event) => { if (isChanged()) event.preventDefault() })

// --- The first field that is wrong gets the focus.

const toError = () => document.querySelector('input[aria-invalid], select[aria-invalid], textarea[aria-invalid]')?.focus()

// --- A chip fills its field in place, so that what else was typed stays.

document.addEventListener('click', (event) => {
  const chip = event.target.closest('[data-fills] .chip')
  if (!chip) return
  const field = document.getElementById(chip.parentElement.dataset.fills)
  event.preventDefault()
  field.value = chip.textContent
  for (const other of chip.parentElement.children) other.classList.toggle('chosen', other === chip)
  field.focus()
})

// --- Another agent may have another scope and other contexts: ask for the form anew, with what was typed.

document.addEventListener('change', (event) => {
  if (event.target.id !== 'agent' || !event.target.form.matches('.form')) return
  const url = new URL(event.target.form.action)
  for (const name of ['agent', 'context', 'model']) url.searchParams.set(name, event.target.form.elements[name].value)
  location.assign(url)
})

// --- What runs shows itself: the server sends the piece anew at each change, then an end.

const follow = () => {
  for (const piece of all('[data-stream]:not([data-followed])')) {
    piece.dataset.followed = '1'
    const source = new EventSource(piece.dataset.stream)
    source.addEventListener('html', (event) => { piece.innerHTML = event.data; settle() })
    source.addEventListener('end', () => {
      source.close()
      delete piece.dataset.stream
      document.dispatchEvent(new Event('streamed'))
    })
  }
}

// --- Buttons that copy: a field, or a text of their own.

document.addEventListener('click', async (event) => {
  const button = event.target.closest('[data-copies], [data-copy]')
  if (!button) return
  const field = document.getElementById(button.dataset.copies)
  const text = field ? field.value : button.dataset.copy
  try {
    await navigator.clipboard.writeText(text)
    toast('Copied')
  } catch {
    // Without a secure connection the browser lets nobody write; what is selected can be copied by hand.
    if (field) { field.type = 'text'; field.select(); toast('Press Ctrl-C to copy') } else toast('The browser does not let pages copy here')
  }
})

// --- Secrets are masked until someone wants to see them.

const reveal = () => {
  for (const field of all('input[data-reveal]:not([data-ready])')) {
    field.dataset.ready = '1'
    field.type = 'password'
    const button = document.createElement('button')
    button.type = 'button'
    button.className = 'button small'
    button.textContent = 'Show'
    button.setAttribute('aria-label', `Show: ${field.labels[0]?.textContent ?? 'secret'}`)
    button.setAttribute('aria-pressed', 'false')
    button.addEventListener('click', () => {
      const shows = field.type === 'password'
      field.type = shows ? 'text' : 'password'
      button.textContent = shows ? 'Hide' : 'Show'
      button.setAttribute('aria-pressed', shows)
    })
    field.after(button)
  }
}

// --- Times in the reader's own zone, with UTC beside them; those that say how long ago keep up.

const since = (milliseconds) => {
  const seconds = Math.floor(Math.abs(milliseconds) / 1000)
  const days = Math.floor(seconds / 86400)
  const text = seconds < 5 ? '' : seconds < 60 ? `${seconds} s` : seconds < 3600 ? `${Math.floor(seconds / 60)} min` : seconds < 86400 ? `${Math.floor(seconds / 3600)} h` : days === 1 ? '1 day' : `${days} days`
  return !text ? 'just now' : milliseconds < 0 ? `in ${text}` : `${text} ago`
}
// Made once, since each takes longer than what it formats.
const dates = { stamp: new Intl.DateTimeFormat([], { dateStyle: 'medium', timeStyle: 'short' }), exact: new Intl.DateTimeFormat([], { dateStyle: 'short', timeStyle: 'medium' }) }
const times = () => {
  for (const time of all('time:not([data-local])')) {
    const at = new Date(time.dateTime)
    time.dataset.local = '1'
    if ('stamp' in time.dataset) {
      time.title = `${time.textContent.trim()} (${time.title})`
      time.textContent = dates.stamp.format(at)
    } else {
      time.title = `${dates.exact.format(at)} (${time.title})`
    }
  }
}
setInterval(() => {
  const now = Date.now()
  for (const time of all('time[data-local]:not([data-stamp])')) {
    const text = since(now - Date.parse(time.dateTime))
    if (time.textContent !== text) time.textContent = text
  }
}, 15000)

// --- Light and dark without loading the page again.

document.addEventListener('submit', (event) => {
  if (!event.target.matches('form.theme')) return
  event.preventDefault()
  const chosen = event.submitter
  document.documentElement.dataset.theme = chosen.value
  for (const button of all('button', event.target)) button.setAttribute('aria-pressed', button === chosen)
  fetch(event.target.action, { method: 'POST', headers: { 'HX-Request': 'true' }, body: new URLSearchParams({ theme: chosen.value }) })
})

// --- The command palette: the search page's results, in a dialog.

const palette = document.getElementById('palette')
const found = document.getElementById('palette-found')
const field = document.getElementById('palette-field')
let asking = new AbortController()
let waiting

const options = () => [...all('a', found)]
const choose = (option) => {
  for (const other of options()) other.setAttribute('aria-selected', other === option)
  if (!option) { field.removeAttribute('aria-activedescendant'); return }
  field.setAttribute('aria-activedescendant', option.id)
  option.scrollIntoView({ block: 'nearest' })
}
const chosen = () => found.querySelector('[aria-selected="true"]')

const look = async () => {
  asking.abort()
  asking = new AbortController()
  const url = new URL(palette.dataset.from, location.href)
  url.searchParams.set('q', field.value)
  try {
    const answer = await fetch(url, { headers: { 'HX-Request': 'true' }, signal: asking.signal })
    if (answer.headers.has('HX-Redirect')) { location.assign(answer.headers.get('HX-Redirect')); return }
    found.innerHTML = await answer.text()
  } catch (error) {
    if (error.name !== 'AbortError') found.textContent = 'Patchbay does not answer.'
    return
  }
  for (const [at, option] of options().entries()) {
    option.id = `found-${at}`
    option.setAttribute('role', 'option')
    option.tabIndex = -1
  }
  // Where nothing was found, what says so is no list.
  found.setAttribute('role', options().length ? 'listbox' : 'status')
  choose(options()[0])
}

const openPalette = () => {
  if (!palette || palette.open) return
  document.getElementById('help').close()
  found.innerHTML = '<span class="skeleton"></span><span class="skeleton"></span><span class="skeleton"></span>'
  field.value = ''
  palette.showModal()
  look()
}

field?.addEventListener('input', () => { clearTimeout(waiting); waiting = setTimeout(look, 90) })
field?.addEventListener('keydown', (event) => {
  const list = options()
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key]
  if (step && list.length) {
    event.preventDefault()
    choose(list[(list.indexOf(chosen()) + step + list.length) % list.length])
  } else if (event.key === 'Enter') {
    event.preventDefault()
    chosen()?.click()
  } else if (event.key === 'Escape') {
    // A search field would be emptied first.
    event.preventDefault()
    palette.close()
  }
})
document.getElementById('find')?.addEventListener('click', openPalette)

// A click beside a dialog closes it.
document.addEventListener('click', (event) => { if (event.target.matches('dialog')) event.target.close() })

// --- Keys. Those without Ctrl can be switched off, for people who speak to their machine or press keys by mistake.

const help = document.getElementById('help')
const singleKeys = document.getElementById('single-keys')
if (singleKeys) {
  singleKeys.checked = localStorage.getItem('single-keys') !== 'off'
  singleKeys.addEventListener('change', () => localStorage.setItem('single-keys', singleKeys.checked ? 'on' : 'off'))
}
document.addEventListener('click', (event) => {
  if (!event.target.closest('[data-opens="help"]')) return
  event.preventDefault()
  help.showModal()
})

let goes = 0
const keys = {
  '/': openPalette,
  '?': () => help.showModal(),
  g: () => { goes = Date.now() },
  r: () => location.reload(),
  u: () => document.querySelector('#receipt form button')?.focus()
}
document.addEventListener('keydown', (event) => {
  if (event.key.toLowerCase() === 'k' && (event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey) {
    event.preventDefault()
    openPalette()
    return
  }
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || !singleKeys?.checked) return
  if (isTyping(event.target) || document.querySelector('dialog[open]')) return
  const place = Date.now() - goes < 1500 && document.querySelector(`nav [data-letter="${CSS.escape(event.key)}"]`)
  goes = 0
  const act = place ? () => place.click() : keys[event.key] ?? (/^[1-9]$/.test(event.key) && (() => all('.pairs button')[event.key - 1]?.focus()))
  if (!act) return
  event.preventDefault()
  act()
})

// --- What others do shows itself as it happens. Words change in place; where rows would come, go or move, or where
// someone is typing, a strip says how many changes wait. Only the visible tab listens: over HTTP/1.1 a browser
// opens six connections to a server, and listening tabs would use them up.
if (document.body.dataset.events) {
  const { events, seen } = document.body.dataset
  const RESTS = { swap: 'is switching' }
  const STEP = 2000
  const GAP = 700
  let last = seen, source, patience = STEP, me = {}, due, renewed = 0, unseen = [], calmUntil = 0
  const told = new Set()

  const strip = document.createElement('div')
  const words = document.createElement('span')
  const button = document.createElement('button')
  strip.className = 'strip'
  strip.hidden = true
  strip.setAttribute('role', 'status')
  button.className = 'button small'
  button.textContent = 'Show'
  strip.append(words, button)
  document.getElementById('main').append(strip)
  const people = document.createElement('p')
  people.className = 'people'
  people.hidden = true
  document.querySelector('form.user')?.before(people)

  const say = (text, offers) => { if (words.textContent !== text) words.textContent = text; button.hidden = !offers; strip.hidden = !text }
  const list = (names) => names.length > 4 ? names.slice(0, 3).join(', ') + ' and ' + (names.length - 3) + ' more' : names.join(', ')

  // What a page shows is one of these; it says by `data-live` of what kinds of changes it wants to know.
  const target = () => document.getElementById('results') || document.getElementById('content')
  const topics = () => document.querySelector('[data-live]')?.dataset.live || ''
  const concerns = (topic) => topics() === '*' || topics().split(' ').includes(topic)

  const FIELDS = 'input, select, textarea'
  const isChanged = (field) => field.tagName === 'SELECT'
    ? [...field.options].some((option) => option.selected !== option.defaultSelected) && field.selectedIndex > 0
    : field.type !== 'hidden' && (field.value !== field.defaultValue || field.checked !== field.defaultChecked)
  const isBusy = (node) => node.nodeType === 1 && (
    (node.contains(document.activeElement) && document.activeElement.matches(FIELDS)) ||
    node.matches('form[aria-busy], [data-stream]') || (node.matches(FIELDS) && isChanged(node)) ||
    [...node.querySelectorAll(FIELDS)].some(isChanged) || node.querySelector('form[aria-busy], [data-stream]') !== null)

  const key = (node) => node.nodeType === 1 ? (node.id || node.dataset?.id || node.dataset?.hash || node.dataset?.context || '') : ''
  const isSame = (old, fresh) => old.nodeName === fresh.nodeName && key(old) === key(fresh)
  const haveSameParts = (old, fresh) => old.childNodes.length === fresh.childNodes.length &&
    [...old.childNodes].every((part, n) => isSame(part, fresh.childNodes[n]))
  const fits = (old, fresh) => {
    if (!isSame(old, fresh)) return false
    if (old.nodeName === 'FORM') return old.isEqualNode(fresh) || !isBusy(old)
    return haveSameParts(old, fresh) && [...old.childNodes].every((part, n) => fits(part, fresh.childNodes[n]))
  }
  const takeAttributes = (old, fresh) => {
    for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value)
    for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && name !== 'open') old.removeAttribute(name)
  }
  const take = (old, fresh) => {
    if (old.isEqualNode(fresh)) return
    if (old.nodeName === 'FORM') return old.replaceWith(fresh.cloneNode(true))
    if (old.nodeType !== 1) { if (old.data !== fresh.data) old.data = fresh.data; return }
    if (old.matches(FIELDS) || (old.nodeName === 'TIME' && old.dateTime === fresh.dateTime)) return
    takeAttributes(old, fresh)
    for (const [n, part] of [...old.childNodes].entries()) take(part, fresh.childNodes[n])
  }
  // Makes the one like the other, as far as that is polite; false where something waits.
  const renew = (old, fresh, isAsked) => {
    if (old.isEqualNode(fresh)) return true
    if (fits(old, fresh)) { take(old, fresh); return true }
    if (isSame(old, fresh) && old.nodeType === 1 && old.nodeName !== 'FORM' && haveSameParts(old, fresh)) {
      if (isAsked) takeAttributes(old, fresh)
      return [...old.childNodes].map((part, n) => renew(part, fresh.childNodes[n], isAsked)).every(Boolean)
    }
    if (isAsked && !isBusy(old)) { old.replaceWith(fresh.cloneNode(true)); return true }
    return false
  }

  const look = async (isAsked) => {
    due = undefined
    renewed = performance.now()
    const address = location.href
    const answer = await fetch(address, { headers: { 'HX-Request': 'true' } }).catch(() => null)
    if (!answer?.ok || answer.redirected || location.href !== address) return false
    const place = target()
    const fresh = place.cloneNode(false)
    fresh.innerHTML = await answer.text()
    const isAllTaken = renew(place, fresh, isAsked)
    window.htmx?.process(target())
    settle()
    return isAllTaken
  }
  const soon = () => {
    if (due) return
    // A little later, and not all at the same moment: the server answers every page that is open.
    const gap = performance.now() < calmUntil ? 5 * GAP : GAP
    const pause = Math.max(100 + Math.random() * 300, gap - (performance.now() - renewed))
    due = setTimeout(async () => {
      if (await look(false)) { unseen = []; say('') } else if (unseen.length) tellWaiting()
    }, pause)
  }
  const tellWaiting = () => {
    const who = list([...new Set(unseen.map((change) => change.who))])
    const count = unseen.reduce((sum, change) => sum + change.count, 0)
    say(count === 1 ? '1 change by ' + who : count.toLocaleString('en') + ' changes by ' + who, true)
  }
  button.addEventListener('click', async () => {
    unseen = []
    say('')
    // What is being typed stays, with the part of the page that it is in.
    if (!await look(true) && !isBusy(target())) location.reload()
  })

  // The page shows a copy of what the proxy has, and a newer one is on its way.
  document.addEventListener('settled', () => {
    for (const mark of all('[data-renews]', target())) {
      mark.removeAttribute('data-renews')
      unseen.push({ who: 'the proxy', count: 1 })
      soon()
    }
  })

  // What someone asked for here has ended: what goes with it is theirs to see, without a strip.
  document.addEventListener('streamed', async () => {
    unseen = []
    say('')
    await look(true)
  })

  const on = {
    hello: (data) => { me = data; patience = STEP },
    change: (change) => {
      if (told.has(change.id)) return
      told.add(change.id)
      if (!concerns(change.topic)) return
      unseen.push(change)
      soon()
    },
    begun: ({ topic, object, who }) => {
      if (!concerns(topic) || document.querySelector('[data-stream]') || unseen.length) return
      say(who + ' ' + RESTS[topic] + ' ' + object + ' …')
      setTimeout(() => { if (!unseen.length && button.hidden) say('') }, 5 * STEP)
    },
    // A job makes many changes: pages follow it more slowly, and the words change a few times in all.
    progress: ({ agent, who, runs, done, failed, total }) => {
      calmUntil = runs ? performance.now() + STEP : 0
      if (concerns('bulk')) return soon()
      if (!concerns('swap') || unseen.length) return
      const tenths = Math.floor(10 * (done + failed) / total)
      say(runs ? who + ' is switching ' + total.toLocaleString('en') + ' contexts of ' + agent + ', ' + tenths + '0 % …' : '')
    },
    people: ({ people: all }) => {
      const others = all.filter((other) => other.key !== me.key)
      const names = (some) => list([...new Set(some.map(({ name }) => name === me.name ? name + ' (another browser)' : name))])
      const beside = others.filter((other) => other.page === me.page)
      people.textContent = beside.length ? 'On this page too: ' + names(beside) : others.length ? 'Here too: ' + names(others) : ''
      people.hidden = !others.length
    },
    reset: () => say('More has changed than can be told', true),
  }
  const listen = () => {
    if (source || document.visibilityState === 'hidden') return
    const url = new URL(events, location.origin)
    url.searchParams.set('page', location.pathname)
    url.searchParams.set('last', last)
    source = new EventSource(url)
    for (const [name, heed] of Object.entries(on)) {
      source.addEventListener(name, (event) => {
        if (event.lastEventId) last = event.lastEventId
        heed(JSON.parse(event.data))
      })
    }
    // A lost connection is taken up again by the browser; a refusal is not.
    source.addEventListener('error', () => {
      if (source?.readyState !== EventSource.CLOSED) return
      source = undefined
      patience = Math.min(2 * patience, 30 * STEP)
      setTimeout(listen, patience)
    })
  }
  const rest = () => { source?.close(); source = undefined }
  document.addEventListener('visibilitychange', () => document.visibilityState === 'hidden' ? rest() : listen())
  addEventListener('pagehide', rest)
  addEventListener('pageshow', listen)
}

// --- After the page has come, and after each piece of it that comes later.

const settle = () => {
  times()
  reveal()
  follow()
  if (navigator.clipboard) for (const button of all('.copy[hidden]')) button.hidden = false
  document.dispatchEvent(new Event('settled'))
}
document.addEventListener('htmx:afterSettle', () => { settle(); toError() })
settle()
toError()
