// Small comforts; everything works without them.
'use strict'

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
