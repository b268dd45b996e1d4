/** The page for people, in place of a bare 402. */
export { page, stripeCard, DESCRIPTION_CHARS_MAX, LANGUAGES_CHARS_MAX, LINES_MAX } from './page.ts'
export type { CardSettings, PageSettings } from './page.ts'
export { LOGO_CHARS_MAX, NAME_CHARS_MAX } from './theme.ts'
export type { Colours, Theme } from './theme.ts'
export { TICKET_CHARS_MAX, TICKET_FIELD } from './ticket.ts'
