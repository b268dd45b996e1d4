import { amountOf, fill, isLanguage, words } from '../words.ts'
import type { Language, Words } from '../words.ts'
import { findApps, payByApp } from './apps.ts'
import type { App } from './apps.ts'
import { openCard } from './card.ts'
import { el } from './dom.ts'
import {
  PREIMAGE,
  TICKET_FIELD,
  byTicket,
  invoicesOf,
  qrOf,
  shown,
  watch,
  webLn,
  withPreimage,
} from './lightning.ts'
import type { Outcome, Payment } from './pay.ts'
import { PAGE_FIELD, here, markPaid, mayHavePaid, pending, present, sleep } from './pay.ts'
import { readSaid } from './said.ts'
import type { Offer, Receipt, Said } from './said.ts'
import { networkName } from './text.ts'
import { Unpaid, entriesOf, findWallets, sign } from './wallet.ts'
import type { Wallet } from './wallet.ts'

const LANGUAGE = 'tolsey-language'
/** Largest text that is shown on the page itself, in bytes. */
const SHOWN_BYTES_MAX = 262_144
/** A payment that was made is not through yet. */
const WAITING = ['payment-in-flight', 'payment-unknown', 'work-timed-out']
/** Longest time until the page asks again by itself. */
const RETRY_MAX_MS = 30_000

const root = document.querySelector('#page')
const data = document.querySelector('#said')?.textContent
const first = data === null || data === undefined ? undefined : (JSON.parse(data) as Said)
if (root && first) start(root, first)

function start(main: Element, given: Said): void {
  let said = given
  let language = chosen() ?? given.language
  let say: Words = words[language]
  /** A payment is under way: no second one begins. */
  let busy = false
  let watching = new AbortController()
  let wallets: readonly Wallet[] = []
  let apps: readonly App[] = []
  const status = el('div', { class: 'status', role: 'status' })
  const alert = el('div', { class: 'alert', role: 'alert' })

  function tell(sentence: string, isBusy = true): void {
    status.className = isBusy && sentence !== '' ? 'status busy' : 'status'
    status.textContent = sentence
  }

  function complain(sentence: string): void {
    tell('')
    alert.textContent = sentence
  }

  function frame(heading: string, ...children: readonly (Node | undefined)[]): HTMLElement {
    watching.abort()
    watching = new AbortController()
    document.documentElement.lang = language
    document.title = `${heading} · ${said.name}`
    const title = el('h1', { tabindex: '-1' }, heading)
    main.replaceChildren(
      el(
        'header',
        {},
        said.logo === undefined ? undefined : el('img', { class: 'logo', src: said.logo, alt: '' }),
        el('p', { class: 'name' }, said.name),
        languageChoice(),
      ),
      title,
      ...children.filter((child) => child !== undefined),
      el('footer', {}, fill(say.number, said.request)),
    )
    return title
  }

  function languageChoice(): HTMLElement {
    const select = el(
      'select',
      { class: 'lang', 'aria-label': say.language },
      ...Object.entries(said.languages).map(([code, name]) =>
        el('option', { value: code, lang: code, selected: code === language }, name),
      ),
    )
    select.addEventListener('change', () => {
      const { value } = select
      if (!isLanguage(value)) return
      language = value
      say = words[value]
      remember(value)
      tell('')
      alert.textContent = ''
      redraw()
      main.querySelector<HTMLElement>('.lang')?.focus()
    })
    return select
  }

  let redraw = offers

  /** What it costs, why, and the ways to pay. */
  function offers(): void {
    redraw = offers
    const ways = [...walletWays(), ...lightningWays(), ...cardWays(), ...appWays()]
    frame(
      said.offers ? say.title : say.unavailable,
      el('p', { class: 'what' }, said.description ?? said.path),
      prices(),
      breakdown(),
      plan(),
      alert,
      status,
      ways.length === 0
        ? el('p', { class: 'notice' }, said.offers ? say.nothing : why())
        : undefined,
      ...ways,
      ways.length === 0 ? button(say.retry, () => void renew(), true) : undefined,
    )
    lock()
    if (!busy) lookForAll()
  }

  function prices(): HTMLElement | undefined {
    const amounts = [...new Set((said.offers ?? []).map(({ amount }) => amountOf(amount)))]
    if (amounts.length === 0) return undefined
    const parts = amounts.flatMap((amount, at) => [
      at === 0 ? '' : ` ${say.or} `,
      el('strong', {}, amount),
    ])
    return el('p', { class: 'price' }, ...parts)
  }

  function breakdown(): HTMLElement | undefined {
    const lines = said.breakdown ?? []
    if (lines.length === 0) return undefined
    const head = [say.what, say.quantity, say.amount].map((t) => el('th', { scope: 'col' }, t))
    const rows = lines.map(({ what, quantity, unit, amount }) =>
      el('tr', {}, el('td', {}, what), el('td', {}, `${quantity} ${unit}`), el('td', {}, amount)),
    )
    return el(
      'details',
      { open: lines.length <= 5 },
      el('summary', {}, say.why),
      el('table', {}, el('thead', {}, el('tr', {}, ...head)), el('tbody', {}, ...rows)),
    )
  }

  function plan(): HTMLElement | undefined {
    return (
      said.plan &&
      el(
        'p',
        { class: 'note' },
        `${say.plan}: ${said.plan.name}. `,
        fill(say.planNote, said.plan.rights.join(', ')),
      )
    )
  }

  function way(title: string, ...children: readonly (Node | undefined)[]): HTMLElement {
    const id = `way-${title.replaceAll(/\W/g, '')}-${Math.random().toString(36).slice(2)}`
    return el(
      'section',
      { 'aria-labelledby': id },
      el('h2', { id }, title),
      ...children.filter((child) => child !== undefined),
    )
  }

  function button(text: string, act: () => void, isPlain = false): HTMLButtonElement {
    return el('button', { type: 'button', ...(isPlain && { class: 'plain' }), click: act }, text)
  }

  function lock(): void {
    for (const one of main.querySelectorAll<HTMLButtonElement>('section button'))
      one.disabled = busy
  }

  // By wallet.

  function walletWays(): readonly HTMLElement[] {
    const entries = entriesOf(said)
    if (entries.length === 0) return []
    const buttons = entries.flatMap((entry) =>
      wallets.map((wallet) =>
        button(
          fill(say.payWith, entry.offer.amount, wallet.name === '' ? say.wallet : wallet.name) +
            (entries.length > 1 ? ` · ${networkName(entry.accepted.network)}` : ''),
          () => void act(async () => await settle(await sign(wallet, entry, say, tell))),
        ),
      ),
    )
    const names = [...new Set(entries.map(({ accepted }) => networkName(accepted.network)))]
    return [
      way(
        `${say.wallet} · ${names.join(', ')}`,
        ...buttons,
        el('p', { class: 'note' }, wallets.length === 0 ? say.walletMissing : say.walletNote),
      ),
    ]
  }

  // By Lightning.

  function lightningWays(): readonly HTMLElement[] {
    return invoicesOf(said).map((offer) => {
      const { invoice, amount } = offer
      const ticket = byTicket(offer)
      const wallet = webLn()
      const end = new Date(offer.expiresAt).toLocaleTimeString(language, { timeStyle: 'short' })
      return way(
        `${say.lightning} · ${amountOf(amount)}`,
        wallet && button(say.webln, () => void act(() => payByWebLn(invoice, offer))),
        qrOf(invoice, amount, say),
        el('p', { class: 'note' }, ticket ? say.scan : say.scanBlind),
        el(
          'div',
          { class: 'row' },
          el('a', { class: 'button plain', href: `lightning:${invoice}` }, say.openWallet),
          copyButton(invoice),
        ),
        el('p', { class: 'note' }, ticket ? `${say.waiting} ` : '', fill(say.invoiceEnd, end)),
        withPreimage(said, invoice, '') && !ticket ? proofForm(invoice) : undefined,
      )
    })
  }

  function copyButton(invoice: string): HTMLButtonElement {
    const made = button(
      say.copy,
      () =>
        void navigator.clipboard.writeText(invoice).then(
          () => (made.textContent = say.copied),
          () => prompt(say.copy, invoice),
        ),
      true,
    )
    return made
  }

  /** Who has paid elsewhere may bring the preimage by hand. */
  function proofForm(invoice: string): HTMLElement {
    const input = el('input', { id: 'preimage', autocomplete: 'off', spellcheck: 'false' })
    const sendProof = (): void => {
      const preimage = input.value.trim()
      const payment = PREIMAGE.test(preimage) ? withPreimage(said, invoice, preimage) : undefined
      if (payment) void act(() => settle(payment))
      else complain(say.preimageWrong)
    }
    return el(
      'details',
      {},
      el('summary', {}, say.preimageNote),
      el('label', { for: 'preimage' }, say.preimage),
      input,
      button(say.show, sendProof, true),
    )
  }

  async function payByWebLn(invoice: string, offer: Offer): Promise<void> {
    const wallet = webLn()
    if (!wallet) throw new Unpaid(say.walletMissing)
    tell(say.connect)
    const preimage = await wallet
      .enable()
      .then(() => wallet.sendPayment(invoice))
      .then(
        (paid) => paid.preimage,
        (error: unknown) => {
          throw new Unpaid(fill(say.walletFailed, (error as Error).message.slice(0, 200)))
        },
      )
    const payment = withPreimage(said, invoice, preimage) ?? byTicket(offer)
    if (payment) await settle(payment)
  }

  async function look(payment: Payment, expiresAt: number): Promise<void> {
    const { signal } = watching
    const outcome = await watch(payment, expiresAt, signal)
    if (outcome === undefined || signal.aborted || busy) return
    // One that was shown before this page, and was used up or came to nothing, is no concern of who reads this one.
    const isOld = invoicesOf(said).every(({ ticket }) => ticket !== payment.value)
    if (isOld && (outcome === 'expired' || outcome.kind === 'refused')) return
    if (outcome !== 'expired') return finish(outcome, payment)
    complain(say.expired)
    alert.append(
      ' ',
      button(say.renew, () => void renew(), true),
    )
  }

  // By card.

  function cardWays(): readonly HTMLElement[] {
    const { card } = said
    if (!card) return []
    const payable = (said.offers ?? []).filter(({ begin, ticket }) => begin && ticket)
    return payable.map((offer) => {
      const place = el('div', { class: 'card' })
      const amount = amountOf(offer.amount)
      const first = button(
        `${say.cardLoad} · ${amount}`,
        () =>
          void act(async () => {
            tell(say.loading)
            const form = await openCard(card, offer, place, say)
            tell('')
            first.replaceWith(
              button(
                fill(say.cardPay, amount),
                () => void act(async () => await settle(await form.pay())),
              ),
            )
          }),
      )
      return way(`${say.card} · ${amount}`, place, first)
    })
  }

  // By a payment app.

  function appWays(): readonly HTMLElement[] {
    if (apps.length === 0) return []
    const buttons = apps.map((app) =>
      button(
        fill(say.handlerPay, `${app.host} · ${amountOf(app.offer.amount)}`),
        () =>
          void act(async () => {
            const answer = await payByApp(app, said, say)
            const outcome = await present(answer.payment, progress)
            if (outcome.kind === 'open') return stuck(answer.payment)
            await answer.done(outcome.kind === 'paid' || outcome.kind === 'content')
            finish(outcome, answer.payment)
          }),
      ),
    )
    return [way(say.handler, ...buttons)]
  }

  // From here on it is the same for all.

  /** One payment at a time. What stops before it was sent is told, and everything may be tried again. */
  async function act(pay: () => Promise<void>): Promise<void> {
    if (busy) return
    busy = true
    alert.textContent = ''
    watching.abort()
    lock()
    try {
      await pay()
    } catch (error) {
      complain(error instanceof Unpaid ? error.message : fill(say.walletFailed, String(error)))
    }
    if (!main.contains(status)) return
    busy = false
    lock()
    if (redraw === offers) lookForAll()
  }

  /** What was being waited for before goes on. */
  function lookForAll(): void {
    watching.abort()
    watching = new AbortController()
    for (const { ticket, expiresAt } of shown(invoicesOf(said)))
      void look({ name: TICKET_FIELD, value: ticket }, expiresAt)
  }

  const progress = (what: 'sending' | 'again' | 'offline', seconds: number): void =>
    tell(fill(say[what], String(seconds)))

  async function settle(payment: Payment): Promise<void> {
    finish(await present(payment, progress), payment)
  }

  /** Nothing new can be paid before it is known what became of this. */
  function stuck(payment: Payment, why?: string): void {
    redraw = () => stuck(payment, why)
    frame(
      say.title,
      el('p', { class: 'what' }, said.description ?? said.path),
      alert,
      status,
      el(
        'section',
        {},
        button(say.retry, () => void act(() => settle(payment))),
      ),
    )
    complain(why ?? say.stuck)
  }

  function finish(outcome: Outcome, payment: Payment): void {
    tell('')
    switch (outcome.kind) {
      case 'paid':
        markPaid()
        return paid(outcome.receipt)
      case 'content':
        return void content(outcome.blob, outcome.fileName)
      case 'refused':
        return refused(outcome.problem)
      case 'failed':
        return stuck(payment, fill(say.workFailed, String(outcome.status)))
      case 'unreachable':
      case 'open':
        return stuck(payment)
    }
  }

  function refused(problem: Said['problem']): void {
    if (problem.code === 'payment-delivered') {
      said = { ...said, problem }
      return delivered()
    }
    complain(`${say.failed}. ${problem.detail}`)
    if (problem.retry === 'new') void renew()
  }

  /** Asks for the price anew. What was complained of stays to be read. */
  async function renew(): Promise<void> {
    const html = await fetch(here(), {
      headers: { Accept: 'text/html', 'Accept-Language': language, [PAGE_FIELD]: 'look' },
      cache: 'no-store',
    }).then(
      (answer) => answer.text(),
      () => '',
    )
    const fresh = readSaid(html)
    if (!fresh) return complain(say.unreachable)
    said = fresh
    apps = await findApps(said)
    busy = false
    offers()
  }

  function paid(receipt: Receipt | undefined): void {
    redraw = () => paid(receipt)
    const open = button(say.open, () => location.assign(here()))
    frame(
      say.paid,
      el('p', { class: 'good', role: 'status' }, say.thanks),
      open,
      receipt && receiptOf(receipt),
      el('p', { class: 'note' }, say.saved),
    )
    open.focus()
  }

  function receiptOf(receipt: Receipt): HTMLElement {
    const { amount, reference, payer, payee, network, settledAt } = receipt
    const at = new Date(settledAt)
    const lines: readonly (readonly [string, string])[] = [
      [say.amount, amountOf(amount)],
      [say.for, said.description ?? said.path],
      [say.reference, reference],
      [say.payer, payer],
      [say.payee, payee],
      [say.network, networkName(network)],
      [say.when, at.toLocaleString(language)],
    ]
    const known = lines.filter(([, value]) => value !== '')
    const text = known.map(([name, value]) => `${name}: ${value}`).join('\n')
    const file = URL.createObjectURL(
      new Blob([`${location.href}\n${text}\n`], { type: 'text/plain' }),
    )
    return way(
      say.receipt,
      el('dl', {}, ...known.flatMap(([name, value]) => [el('dt', {}, name), el('dd', {}, value)])),
      el('a', { class: 'button plain', href: file, download: 'receipt.txt' }, say.save),
    )
  }

  /** What came at once: shown as what it is, or handed over as a file. */
  async function content(blob: Blob, fileName: string): Promise<void> {
    const url = URL.createObjectURL(blob)
    const [kind = ''] = blob.type.split('/')
    const isText = /^(?:text\/(?!html)|application\/(?:[\w.-]+\+)?json)/.test(blob.type)
    const shown =
      kind === 'image'
        ? el('img', { src: url, alt: fileName })
        : kind === 'video' || kind === 'audio'
          ? el(kind, { src: url, controls: true })
          : isText && blob.size <= SHOWN_BYTES_MAX
            ? el('pre', { tabindex: '0' }, await blob.text())
            : undefined
    redraw = () => {
      frame(
        say.paid,
        el('p', { class: 'good', role: 'status' }, say.thanks),
        shown,
        el('a', { class: 'button', href: url, download: fileName }, say.download),
      ).focus()
    }
    redraw()
  }

  function delivered(): void {
    redraw = delivered
    frame(
      say.paid,
      el('p', {}, say.delivered),
      el('p', { class: 'note' }, say.deliveredNote),
      said.receipt && receiptOf(said.receipt),
      button(say.buyAgain, () => void renew(), true),
    ).focus()
  }

  function why(): string {
    return said.problem.detail
  }

  /** The same payment is brought again by its cookie, after a while. */
  async function wait(): Promise<void> {
    const ms = Math.min(RETRY_MAX_MS, Math.max(1_000, said.retryAfterMs ?? 2_000))
    redraw = () => {
      frame(say.title, el('p', { class: 'what' }, said.path), status, alert)
      tell(fill(say.again, String(Math.ceil(ms / 1000))))
    }
    redraw()
    await sleep(ms)
    location.replace(here())
  }

  async function begin(): Promise<void> {
    const before = pending()
    if (!before && said.problem.code === 'payment-required' && mayHavePaid()) {
      location.replace(here())
      return
    }
    if (said.problem.code === 'payment-delivered') return delivered()
    if (WAITING.includes(said.problem.code)) return await wait()
    offers()
    if (before) {
      tell(say.resumed)
      return await act(() => settle(before))
    }
    if (said.offers && said.problem.code !== 'payment-required') complain(said.problem.detail)
    ;[wallets, apps] = await Promise.all([findWallets(), findApps(said)])
    if (!busy) offers()
  }

  void begin()
}

function chosen(): Language | undefined {
  try {
    const kept = localStorage.getItem(LANGUAGE)
    return kept !== null && isLanguage(kept) ? kept : undefined
  } catch {
    return undefined
  }
}

function remember(language: Language): void {
  try {
    localStorage.setItem(LANGUAGE, language)
  } catch {
    // A browser may forbid to keep anything: the choice holds for this page then.
  }
}
