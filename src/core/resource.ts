/** What is sold: one request, named so exactly that a payment for it is worth nothing at another. */
export interface Resource {
  /** The seller's protection space (RFC 9110, 11.5). */
  readonly realm: string
  /** The request method, or another transport's verb. */
  readonly method: string
  /** Host and port as the payer names them, lower case. */
  readonly authority: string
  /** Path as it was sent, still percent-encoded. */
  readonly path: string
  /** Query as it was sent, without the question mark; empty if none. */
  readonly query: string
  /** Digest of the body, `sha-256=:…:` (RFC 9530), where the route binds it. */
  readonly digest?: string
  /** The address as the payer would write it. */
  readonly url: string
}
