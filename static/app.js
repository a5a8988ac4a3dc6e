// Small comforts; everything works without them.
'use strict'

// Pieces of pages come as HTML from our own server. Nothing makes a script or a script's address of a text.
if (window.trustedTypes) window.trustedTypes.createPolicy('default', { createHTML: (html) => html })

// A form is sent once: the button says that it is under way.
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
  for (const form of document.querySelectorAll('form[data-sent]')) { delete form.dataset.sent; form.removeAttribute('aria-busy') }
})

// A chip fills its field in place, so that what else was typed stays.
document.addEventListener('click', (event) => {
  const chip = event.target.closest('[data-fills] .chip')
  if (!chip) return
  const field = document.getElementById(chip.parentElement.dataset.fills)
  event.preventDefault()
  field.value = chip.textContent
  for (const other of chip.parentElement.children) other.classList.toggle('chosen', other === chip)
  field.focus()
})

// Another agent may have another scope and other contexts: ask for the form anew, with what was typed.
document.addEventListener('change', (event) => {
  if (event.target.id !== 'agent' || !event.target.form.matches('.form')) return
  const url = new URL(event.target.form.action)
  for (const name of ['agent', 'context', 'model']) url.searchParams.set(name, event.target.form.elements[name].value)
  location.assign(url)
})

// What runs shows itself: the server sends the piece anew at each change, then an end.
const follow = () => {
  for (const piece of document.querySelectorAll('[data-stream]:not([data-followed])')) {
    piece.dataset.followed = '1'
    const source = new EventSource(piece.dataset.stream)
    source.addEventListener('html', (event) => { piece.innerHTML = event.data; local() })
    source.addEventListener('end', () => source.close())
  }
}

// A button that copies a field, where the browser lets it.
document.addEventListener('click', async (event) => {
  const button = event.target.closest('[data-copies]')
  if (!button) return
  const field = document.getElementById(button.dataset.copies)
  field.select()
  try { await navigator.clipboard.writeText(field.value); button.textContent = 'Copied' } catch { document.execCommand('copy'); button.textContent = 'Copied' }
})

// Times in the reader's own zone, with UTC beside them.
const local = () => {
  for (const time of document.querySelectorAll('time:not([data-local])')) {
    time.dataset.local = '1'
    time.title = new Date(time.dateTime).toLocaleString() + ' (' + time.title + ')'
  }
}
document.addEventListener('htmx:afterSettle', () => { local(); follow() })
local()
follow()

// What others do shows itself as it happens. Words change in place; where rows would come, go or move, or where
// someone is typing, a strip says how many changes wait. Only the visible tab listens: over HTTP/1.1 a browser
// opens six connections to a server, and listening tabs would use them up.
if (document.body.dataset.events) {
  const { events, seen } = document.body.dataset
  const RESTS = { swap: 'is switching' }
  const STEP = 2000
  const GAP = 700
  let last = seen, source, patience = STEP, me = {}, due, renewed = 0, unseen = []
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

  const say = (text, offers) => { words.textContent = text; button.hidden = !offers; strip.hidden = !text }
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
  const take = (old, fresh) => {
    if (old.isEqualNode(fresh)) return
    if (old.nodeName === 'FORM') return old.replaceWith(fresh.cloneNode(true))
    if (old.nodeType !== 1) { if (old.data !== fresh.data) old.data = fresh.data; return }
    if (old.matches(FIELDS) || (old.nodeName === 'TIME' && old.dateTime === fresh.dateTime)) return
    for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value)
    for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && name !== 'open') old.removeAttribute(name)
    for (const [n, part] of [...old.childNodes].entries()) take(part, fresh.childNodes[n])
  }
  // Makes the one like the other, as far as that is polite; false where something waits.
  const renew = (old, fresh, isAsked) => {
    if (old.isEqualNode(fresh)) return true
    if (fits(old, fresh)) { take(old, fresh); return true }
    if (isAsked && !isBusy(old)) { old.replaceWith(fresh.cloneNode(true)); return true }
    if (!isSame(old, fresh) || old.nodeType !== 1 || old.nodeName === 'FORM' || !haveSameParts(old, fresh)) return false
    return [...old.childNodes].map((part, n) => renew(part, fresh.childNodes[n], isAsked)).every(Boolean)
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
    local()
    follow()
    return isAllTaken
  }
  const soon = () => {
    if (due) return
    // A little later, and not all at the same moment: the server answers every page that is open.
    const pause = Math.max(100 + Math.random() * 300, GAP - (performance.now() - renewed))
    due = setTimeout(async () => {
      if (await look(false)) { unseen = []; say('') } else if (unseen.length) tellWaiting()
    }, pause)
  }
  const tellWaiting = () => {
    const who = list([...new Set(unseen.map((change) => change.who))])
    say(unseen.length === 1 ? '1 change by ' + who : unseen.length + ' changes by ' + who, true)
  }
  button.addEventListener('click', async () => {
    unseen = []
    say('')
    // What is being typed stays, with the part of the page that it is in.
    if (!await look(true) && !isBusy(target())) location.reload()
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
    progress: () => { if (concerns('bulk')) soon() },
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
