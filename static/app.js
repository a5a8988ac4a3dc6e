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
  if (!button || !form.dataset.once) return
  button.dataset.said = button.lastChild.textContent
  button.lastChild.textContent = form.dataset.once
})

// It can be sent again.
const release = (form) => {
  delete form.dataset.sent
  form.removeAttribute('aria-busy')
  for (const button of all('[data-said]', form)) {
    button.lastChild.textContent = button.dataset.said
    delete button.dataset.said
  }
}

// htmx sends some forms itself, and leaves them in place where that fails.
document.addEventListener('htmx:afterRequest', (event) => {
  const form = event.target.closest('form[data-sent]')
  if (form) release(form)
})
document.addEventListener('htmx:sendError', () => toast('Patchbay does not answer'))

// Back in the browser may bring the page as it was left.
addEventListener('pageshow', (event) => { if (event.persisted) all('form[data-sent]').forEach(release) })

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

// --- The box in a table's head ticks its rows.

document.addEventListener('change', (event) => {
  const table = event.target.closest('table')
  if (!table || event.target.type !== 'checkbox') return
  const head = table.querySelector('.tick-all')
  const boxes = [...all('tbody input[type="checkbox"]', table)]
  if (event.target === head) for (const box of boxes) box.checked = head.checked
  const ticked = boxes.filter((box) => box.checked).length
  if (head) { head.checked = ticked === boxes.length; head.indeterminate = ticked > 0 && ticked < boxes.length }
})

// With Shift, all between the last box and this one.
let lastBox
document.addEventListener('click', (event) => {
  const box = event.target
  if (!box.matches('tbody input[type="checkbox"]')) return
  const boxes = [...all('input[type="checkbox"]', box.closest('tbody'))]
  const [from, to] = [boxes.indexOf(lastBox), boxes.indexOf(box)].sort((a, b) => a - b)
  if (event.shiftKey && from >= 0) for (const other of boxes.slice(from, to)) other.checked = box.checked
  lastBox = box
})

// --- The value of a key leaves the browser in no address: its hash leads to the key's page.

const keyIn = (field) => field.matches('input[type="search"]') && field.value.match(/^["'\s]*(sk-[\w-]{9,})["'\s]*$/)?.[1]
const goToKey = async (field) => {
  const value = keyIn(field)
  field.value = ''
  const { keys } = document.body.dataset
  if (crypto.subtle) {
    const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(value)))
    location.assign(`${keys}/${[...hash].map((byte) => byte.toString(16).padStart(2, '0')).join('')}`)
    return
  }
  // Without a secure connection the browser hashes nothing.
  const form = document.createElement('form')
  form.method = 'post'
  form.action = `${keys}/find`
  const input = document.createElement('input')
  input.name = 'value'
  input.value = value
  form.append(input)
  document.body.append(form)
  form.submit()
}
document.addEventListener('input', (event) => {
  if (!keyIn(event.target)) return
  event.stopImmediatePropagation()
  if (event.inputType === 'insertFromPaste' || event.inputType === 'insertFromDrop') goToKey(event.target)
}, true)
document.addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || !keyIn(event.target)) return
  event.preventDefault()
  event.stopImmediatePropagation()
  goToKey(event.target)
}, true)
document.addEventListener('submit', (event) => {
  const field = [...all('input[type="search"]', event.target)].find(keyIn)
  if (!field) return
  event.preventDefault()
  event.stopImmediatePropagation()
  goToKey(field)
}, true)

// --- A message is sent as chats send theirs: Enter is a line break in a text of several lines.

document.addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || !(event.ctrlKey || event.metaKey) || !event.target.matches('textarea#message')) return
  event.preventDefault()
  event.target.form.requestSubmit()
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
  const text = field ? field.value : button.dataset.copy.replace(/^\/(?!\/)/, `${location.origin}/`)
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

// --- The reader's zone, for the days of charts, which the server draws.

{
  const path = new URL('..', document.currentScript.src).pathname
  document.cookie = `patchbay_utc_offset=${-new Date().getTimezoneOffset()}; path=${path}; max-age=31536000; samesite=lax`
}

// --- Times in the reader's own zone, with UTC beside them; those that say how long ago keep up.

const since = (milliseconds) => {
  const seconds = Math.floor(Math.abs(milliseconds) / 1000)
  const days = Math.floor(seconds / 86400)
  const text = seconds < 5 ? '' : seconds < 60 ? `${seconds} s` : seconds < 3600 ? `${Math.floor(seconds / 60)} min` : seconds < 86400 ? `${Math.floor(seconds / 3600)} h` : days === 1 ? '1 day' : `${days} days`
  return !text ? 'just now' : milliseconds < 0 ? `in ${text}` : `${text} ago`
}
// Made once, and when it is first asked for, since each takes longer than what it formats.
const formats = {}
const local = (time, options) => (formats[options.timeStyle] ??= new Intl.DateTimeFormat([], options)).format(new Date(time.dateTime))
const times = () => {
  for (const time of all('time[data-stamp]:not([data-local])')) {
    time.dataset.local = '1'
    time.title = `${time.textContent.trim()} (${time.title})`
    time.textContent = local(time, { dateStyle: 'medium', timeStyle: 'short' })
  }
}
document.addEventListener('pointerover', (event) => {
  const time = event.target.closest('time:not([data-stamp], [data-local])')
  if (!time) return
  time.dataset.local = '1'
  time.title = `${local(time, { dateStyle: 'short', timeStyle: 'medium' })} (${time.title})`
})
setInterval(() => {
  const now = Date.now()
  for (const time of all('time:not([data-stamp])')) {
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

// --- After the page has come, and after each piece of it that comes later.

const settle = () => {
  times()
  reveal()
  follow()
  if (navigator.clipboard) for (const button of all('.copy[hidden]')) button.hidden = false
  for (const box of all('.tick-all[hidden]')) box.hidden = false
  document.dispatchEvent(new Event('settled'))
}
document.addEventListener('htmx:afterSettle', () => { settle(); toError() })
settle()
toError()
