/** Longest text of a fault that is told on, in characters. */
export const TEXT_CHARS_MAX = 2_000

/** What must not be told on, and what stands in its place. What comes first takes first. */
const patterns: readonly (readonly [RegExp, string])[] = [
  // Addresses of nodes often hold their key, in the path, the query, or before an @.
  [/\b[a-z][a-z0-9+.-]{1,20}:\/\/[^\s"'<>`]+/gi, '[address]'],
  [/\b(Bearer|Basic|DPoP|L402|LSAT|Payment|Macaroon)\s+[^\s,"']+/gi, '$1 [secret]'],
  [
    /\b(authorization|cookie|x-api-key|api[-_ ]?key|secret|password|passphrase|token|preimage|mnemonic|private[-_ ]?key)("?\s*[:=]\s*"?)[^\s,"'}]+/gi,
    '$1$2[secret]',
  ],
  [/\bwhsec_[\w+/=-]+/g, '[secret]'],
  [/\bln(?:bc|tb|bcrt)[0-9a-z]{20,}/gi, '[invoice]'],
  // An address of a chain has 40 digits and is public; keys, proofs and signatures have more.
  [/\b(?!0x[0-9a-f]{40}\b)[\w+/=-]{40,}/gi, '[secret]'],
]

/**
 * A text without what might be a token, a proof, a key, or the address of a node: rather too little is left than too much.
 * Longer than {@link TEXT_CHARS_MAX} it is cut.
 */
export function redact(text: string): string {
  const short = text.slice(0, TEXT_CHARS_MAX)
  return patterns.reduce((said, [pattern, instead]) => said.replace(pattern, instead), short)
}

/** An address that was asked for, without its query and whoever is named in it. */
export function withoutQuery(url: string): string {
  const [said = ''] = url.split(/[?#]/, 1)
  return said.replace(/^([a-z][a-z0-9+.-]*:\/\/)[^/]*@/i, '$1').slice(0, TEXT_CHARS_MAX)
}
