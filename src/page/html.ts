/** Text that is HTML already: nothing else is put into HTML without being escaped. */
export interface Html {
  readonly text: string
}

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
  '`': '&#96;',
}

/** Text as content, and as the value of an attribute in quotes. Control characters go: no reader shows them. */
export function escape(text: string): string {
  return (
    text
      // oxlint-disable-next-line no-control-regex -- These are what is taken out.
      .replaceAll(/[\u0000-\u0008\u000b-\u001f\u007f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, '')
      .replaceAll(/[&<>"'`]/g, (sign) => entities[sign] ?? '')
  )
}

/** HTML, into which text is put escaped. */
export function html(parts: TemplateStringsArray, ...values: readonly (string | Html)[]): Html {
  const said = values.map((value) => (typeof value === 'string' ? escape(value) : value.text))
  return { text: String.raw({ raw: parts }, ...said) }
}

/** Several in a row, with text between them. */
export function joined(list: readonly Html[], between = ''): Html {
  return { text: list.map(({ text }) => text).join(escape(between)) }
}

/** Data as JSON inside a `script` element that is not run: nothing in it ends the element or begins a comment. */
export function island(value: object): string {
  return JSON.stringify(value).replaceAll(
    /[<>&\u2028\u2029]/g,
    (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}
