// What others do shows itself as it happens. Words change in place; where rows would come, go or move, or where
// someone is typing, a strip says how many changes wait. Only the visible tab listens: over HTTP/1.1 a browser
// opens six connections to a server, and listening tabs would use them up.
'use strict'

// In a block, since scripts share their names; `settle` is that of app.js.
{
  const { events, seen } = document.body.dataset
  const RESTS = { swap: 'is switching' }
  const STEP = 2000
  const GAP = 700
  let last = seen, source, patience = STEP, due, renewed = 0, unseen = [], calmUntil = 0, isRenewing = false
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

  const say = (text, offers) => { if (words.textContent !== text) words.textContent = text; button.hidden = !offers; strip.hidden = !text }
  const list = (names) => names.length > 4 ? names.slice(0, 3).join(', ') + ' and ' + (names.length - 3) + ' more' : names.join(', ')

  // What a page shows is one of these; it says by `data-live` of what kinds of changes it wants to know.
  const target = () => document.getElementById('results') || document.getElementById('content')
  const topics = () => document.querySelector('[data-live]')?.dataset.live || ''
  const concerns = (topic) => topics() === '*' || topics().split(' ').includes(topic)

  const FIELDS = 'input, select, textarea'
  // Forms that are under way, or hold what the server does not have.
  const HELD = 'form[aria-busy], form[data-kept], [data-stream]'
  const isChanged = (field) => field.tagName === 'SELECT'
    ? [...field.options].some((option) => option.selected !== option.defaultSelected) && field.selectedIndex > 0
    : field.type !== 'hidden' && (field.value !== field.defaultValue || field.checked !== field.defaultChecked)
  const isBusy = (node) => node.nodeType === 1 && (
    (node.contains(document.activeElement) && document.activeElement.matches(FIELDS)) ||
    node.matches(HELD) || (node.matches(FIELDS) && isChanged(node)) ||
    [...node.querySelectorAll(FIELDS)].some(isChanged) || node.querySelector(HELD) !== null)

  // Not idiomorph: it moves and adds rows as it goes, and cannot first say whether words alone would change.
  const key = (node) => node.nodeType === 1 ? (node.id || node.dataset?.id || node.dataset?.hash || node.dataset?.context || '') : ''
  const isSame = (old, fresh) => old.nodeName === fresh.nodeName && key(old) === key(fresh)
  const haveSameParts = (old, fresh) => old.childNodes.length === fresh.childNodes.length &&
    [...old.childNodes].every((part, n) => isSame(part, fresh.childNodes[n]))
  const fits = (old, fresh) => {
    if (!isSame(old, fresh)) return false
    if (old.nodeName === 'FORM') return Boolean(old.dataset.kept) || old.isEqualNode(fresh) || !isBusy(old)
    return haveSameParts(old, fresh) && [...old.childNodes].every((part, n) => fits(part, fresh.childNodes[n]))
  }
  const takeAttributes = (old, fresh) => {
    for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value)
    for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && name !== 'open') old.removeAttribute(name)
  }
  const take = (old, fresh) => {
    if (old.isEqualNode(fresh)) return
    if (old.nodeName === 'FORM') { if (!old.dataset.kept) old.replaceWith(fresh.cloneNode(true)); return }
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
    if (!answer?.ok || answer.redirected || location.href !== address) return undefined
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
      const wasRenewing = isRenewing
      isRenewing = false
      const isAllTaken = await look(false)
      if (isAllTaken) { unseen = []; say(''); return }
      if (wasRenewing && isAllTaken === false && !unseen.length) unseen.push({ who: 'the proxy', count: 1 })
      if (unseen.length) tellWaiting()
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
  const lookAgain = () => {
    for (const mark of all('[data-renews]', target())) {
      mark.removeAttribute('data-renews')
      isRenewing = true
      soon()
    }
  }
  document.addEventListener('settled', lookAgain)
  lookAgain()

  // What someone asked for here has ended: what goes with it is theirs to see, without a strip.
  document.addEventListener('streamed', async () => {
    unseen = []
    say('')
    // A switch that was refused can be sent again as it was: the receipt's own page knows only the model.
    const again = document.querySelector('#receipt[role="alert"]') && document.querySelector('details.again')
    if (again) {
      again.open = true
      again.querySelector('form').dataset.kept = '1'
    }
    await look(true)
  })

  // What does not answer stands in the title and in the navigation of every open page, drifted contexts in the latter.
  const alarm = ({ down, drifted }) => {
    document.title = (down.length ? `(${down.length}) ` : '') + document.title.replace(/^\(\d+\) /, '')
    const [bad, warn] = all('nav .alarm')
    bad.title = 'Does not answer: ' + down.join(', ')
    for (const [mark, count] of [[bad, down.length], [warn, drifted]]) {
      mark.hidden = !count
      mark.lastChild.data = count
    }
  }

  const on = {
    hello: () => { patience = STEP },
    condition: alarm,
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
    reset: () => say('More has changed than can be told', true),
  }
  const listen = () => {
    if (source || document.visibilityState === 'hidden') return
    const url = new URL(events, location.origin)
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
