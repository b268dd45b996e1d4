/** A form as it is read: text, or members by name. Lists are members `0`, `1`, … */
export type FormValue = string | Form
/** The members of a form. */
export type Form = { readonly [name: string]: FormValue }

/** Most fields of a form. */
const FIELDS_MAX = 500
/** How deep names may nest. */
const DEPTH_MAX = 6

type Open = { [name: string]: string | Open }

/** Reads `a[b][0]=c`, as Stripe's API is spoken. Undefined for what is too large, too deep or says a thing twice. */
export function readForm(text: string): Form | undefined {
  const form = emptyForm()
  let count = 0
  for (const [name, value] of new URLSearchParams(text)) {
    const path = name.replaceAll(']', '').split('[')
    if (++count > FIELDS_MAX || path.length > DEPTH_MAX || !put(form, path, value)) return undefined
  }
  return form
}

function emptyForm(): Open {
  // Without a prototype no name of a stranger's means anything.
  return Object.create(null) as Open
}

function put(form: Open, path: readonly string[], value: string): boolean {
  let at = form
  for (const name of path.slice(0, -1)) {
    const next = (at[name] ??= emptyForm())
    if (typeof next === 'string') return false
    at = next
  }
  const last = path.at(-1) ?? ''
  // `expand[]` may stand more than once.
  const name = last === '' ? `${Object.keys(at).length}` : last
  if (name in at) return false
  at[name] = value
  return true
}

/** A member that is a form; an empty one where there is none. */
export function formAt(form: Form, ...path: readonly string[]): Form {
  let at = form
  for (const name of path) {
    const next = at[name]
    if (next === undefined || typeof next === 'string') return {}
    at = next
  }
  return at
}

/** A member that is text. */
export function textAt(form: Form, name: string): string | undefined {
  const found = form[name]
  return typeof found === 'string' ? found : undefined
}

/** The texts of a member that is a list. */
export function listAt(form: Form, ...path: readonly string[]): readonly string[] {
  return Object.values(formAt(form, ...path)).filter((value) => typeof value === 'string')
}
