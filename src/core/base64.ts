/** Standard base64 with padding (RFC 4648, 4) of UTF-8 text. */
export function toBase64(text: string): string {
  return Buffer.from(text, 'utf8').toString('base64')
}

/** The UTF-8 text of standard, padded base64; undefined for every other alphabet, length or byte sequence. */
export function fromBase64(text: string): string | undefined {
  if (text.length === 0 || text.length % 4 !== 0 || !/^[A-Za-z0-9+/]+={0,2}$/.test(text))
    return undefined
  try {
    return utf8.decode(Buffer.from(text, 'base64'))
  } catch {
    return undefined
  }
}

const utf8 = new TextDecoder('utf-8', { fatal: true })
