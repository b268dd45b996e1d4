/** How a seller's page looks and what it is called. */
export interface Theme {
  /** Whose page it is; the host if absent. */
  readonly name?: string
  /** A picture as a `data:` address: PNG, JPEG, WebP or SVG. */
  readonly logo?: string
  /** Colours and measures by name, for light and for dark. What is absent stays as it is. */
  readonly light?: Colours
  readonly dark?: Colours
  /** Corners, in CSS pixels. */
  readonly radiusPx?: number
  /** Names of fonts that readers have, in the order of preference. */
  readonly font?: string
}

/** The colours of the page: hex, `rgb(…)`, `hsl(…)`, `oklch(…)` or a name. */
export interface Colours {
  readonly accent?: string
  /** What is written on the accent. */
  readonly onAccent?: string
  readonly background?: string
  readonly card?: string
  readonly text?: string
  readonly muted?: string
  readonly line?: string
}

/** Longest logo, in characters: it is sent with every page. */
export const LOGO_CHARS_MAX = 16_384
/** Longest name of a seller, in characters. */
export const NAME_CHARS_MAX = 120
/** Longest value of a colour or a font, in characters. */
const VALUE_CHARS_MAX = 120
/** Roundest corner, in CSS pixels. */
const RADIUS_MAX_PX = 48

const variables: Readonly<Record<keyof Colours, string>> = {
  accent: '--accent',
  onAccent: '--on-accent',
  background: '--background',
  card: '--card',
  text: '--text',
  muted: '--muted',
  line: '--line',
}

/** Nothing that ends a declaration, a rule or the style, and nothing that loads. */
const COLOUR =
  /^(?:#[0-9a-f]{3,8}|[a-z]{3,24}|(?:rgb|hsl|oklch|oklab|lab|lch)a?\([0-9a-z.,%/ +-]+\))$/i
const FONT = /^[\w\- ,"']+$/
const LOGO = /^data:image\/(?:png|jpeg|webp|svg\+xml);base64,[A-Za-z0-9+/]+={0,2}$/

/**
 * The seller's own rules of style; empty where there are none.
 * @throws {RangeError} with a sentence, for what is not a colour, a font or a picture.
 */
export function readTheme(theme: Theme): string {
  const { name = '', logo, light = {}, dark = {}, radiusPx, font } = theme
  if (name.length > NAME_CHARS_MAX)
    throw new RangeError(`The name on the page is longer than ${NAME_CHARS_MAX} characters.`)
  if (logo !== undefined && (logo.length > LOGO_CHARS_MAX || !LOGO.test(logo)))
    throw new RangeError(
      `The logo is not a base64 "data:image/…" address of at most ${LOGO_CHARS_MAX} characters.`,
    )
  if (radiusPx !== undefined && !(radiusPx >= 0 && radiusPx <= RADIUS_MAX_PX))
    throw new RangeError(`"radiusPx" is not between 0 and ${RADIUS_MAX_PX}.`)
  if (font !== undefined && (font.length > VALUE_CHARS_MAX || !FONT.test(font)))
    throw new RangeError('"font" is not a list of names of fonts.')
  const common = [
    ...(radiusPx === undefined ? [] : [`--radius:${radiusPx}px`]),
    ...(font === undefined ? [] : [`--font:${font}`]),
  ]
  const day = [...rulesOf(light), ...common].join(';')
  const night = rulesOf(dark).join(';')
  return [
    ...(day === '' ? [] : [`:root{${day}}`]),
    ...(night === '' ? [] : [`@media(prefers-color-scheme:dark){:root{${night}}}`]),
  ].join('')
}

function rulesOf(colours: Colours): readonly string[] {
  return Object.entries(variables).flatMap(([name, variable]) => {
    const value = colours[name as keyof Colours]
    if (value === undefined) return []
    if (value.length > VALUE_CHARS_MAX || !COLOUR.test(value))
      throw new RangeError(`"${name}" is not a colour.`)
    return [`${variable}:${value}`]
  })
}
