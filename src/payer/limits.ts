/** Largest body that is kept in memory so that it can be sent again with a payment. */
export const BODY_BYTES_MAX: number = 16 * 1024 * 1024

/** Most redirects that are followed (Fetch standard, HTTP-redirect fetch, step 7). */
export const REDIRECTS_MAX = 20

/** Most bytes that are read of a 402's body. */
export const CHALLENGE_BYTES_MAX: number = 256 * 1024

/** Longest wait for a 402's body. */
export const CHALLENGE_MS_MAX = 5_000

/** Most offers of one 402 that are looked at. */
export const OFFERS_MAX = 64

/** Most reasons that an error lists. */
export const REASONS_MAX = 16

/** Longest text of a stranger that goes into an error. */
export const STRANGER_CHARS_MAX = 300

/** How long a payment may stay payable, if the policy does not say. */
export const VALIDITY_MS_MAX = 600_000

/** How often one payment is sent at most. */
export const SENDS_MAX = 6

/** How long sends of one payment may take together, waits included. */
export const SENDS_MS_MAX = 60_000

/** How long the result of work that goes on after its answer (202) is waited for, if the payer does not say. */
export const RESULT_MS = 60_000

/** Shortest and longest wait between two sends of one payment. */
export const BACKOFF_MS_MIN = 250
export const BACKOFF_MS_MAX = 8_000

/** How long a purchase belongs to its process if nothing can be learned about that process. */
export const LEASE_MS = 120_000

/** How long a call waits for an open purchase of which nobody knows whether somebody works on it, and how often it looks. */
export const ADOPTION_MS_MAX = 60_000
export const ADOPTION_PAUSE_MS = 500

/** What must be left of a payment's validity for it to be worth sending again. */
export const VALIDITY_LEFT_MS_MIN = 2_000

/** How often open purchases are looked at beside new ones. */
export const SWEEP_MS = 60_000

/** Shortest time between two sweeps when the budget is full. */
export const SWEEP_MS_MIN = 10_000

/** Most steps of a purchase that may still be sent again; each time writes two. */
export const PURCHASE_STEPS_MAX = 512

/**
 * How long the head of a paid answer waits for its body, and for how much of it: a body that is whole by then has arrived,
 * and one that breaks is asked for again before anybody has seen any of it.
 */
export const BODY_HOLD_MS = 100
export const BODY_HOLD_BYTES_MAX: number = 64 * 1024

/** How long nobody may read from a paid body before its purchase is closed without waiting for the end. */
export const RECEIVING_MS_MAX = 600_000

/** How long after its end a payment that was taken may be shown again to fetch what it bought. */
export const FETCH_MS_MAX = 86_400_000

/** Longest address in a note. */
export const NOTE_URL_CHARS_MAX = 2_048

/** How often a payment that has moved money is shown to a seller who asks for it once more: he may learn of it late. */
export const PAID_SENDS_MAX = 3

/** Longest token that is kept, with its scheme. */
export const TOKEN_CHARS_MAX = 16_384

/** How long a token is kept that does not say when it ends. */
export const TOKEN_MS_MAX: number = 30 * 86_400_000

/** Most tokens of one origin that are kept, and most that are read, those that are over among them. */
export const TOKENS_PER_ORIGIN_MAX = 8
export const TOKENS_READ_MAX = 32

/** Most tokens that are tried before a request is paid for. */
export const TOKENS_TRIED_MAX = 2

/** Origins of which tokens are known without a look into the books, and paths of each of which is known which token is good. */
export const ORIGINS_KNOWN_MAX = 256
export const PATHS_KNOWN_MAX = 1_024
