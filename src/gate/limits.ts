/** How long an offer stands: time enough for a person to say yes. */
export const OFFER_VALID_MS = 300_000
/** Offers end on this grid, so that equal requests within it are asked with equal bytes. */
export const OFFER_GRID_MS = 5_000
/** How long work may take where a sale does not say. */
export const WORK_MS = 60_000
/** Time beyond the work in which settlement must be through, before another process may look after a claim. */
export const SETTLE_MS = 45_000
/** How long an answer waits until what the payer had locked is given back. That itself goes on. */
export const RELEASE_MS = 2_000
/** How long the first byte may take once the money has moved; after that the same proof may fetch it again. */
export const DELIVER_MS = 30_000
/** How far the clocks of a network may be behind ours. */
export const CLOCK_SKEW_MS = 60_000
/** How long after an offer's end a payment that was made in its time, and stands in no books, is still looked for. */
export const LATE_MS = 3_600_000
/** How long after its offer's end a payment may be shown that was made before: the rail saw to it that nobody pays too late. */
export const REDEEM_MS = 86_400_000
/** Most pairs of currencies of which rates are remembered. */
export const PAIRS_MAX = 256
/** Most rates of one pair by which offers are found again: one for each moment on the grid while an offer stands. */
export const RATES_RECENT_MAX = 64
/** How long a rail may take to complete an offer. Then it is left out. */
export const ISSUE_MS = 10_000
/** Most offers that rails complete in a minute, for all callers together. */
export const ISSUES_PER_MINUTE_MAX = 6_000
/** Most accounts of tokens of which is remembered how they stand. */
export const ACCOUNTS_MAX = 10_000
/** Most limits of one token that a draw counts in: a transfer has sixteen legs, and one of them pays. */
export const DRAW_LIMITS_MAX = 15
/** Most words of what a metered request used that its draws keep apart. */
export const METER_WORDS_MAX = 32
/** How often one account may be topped up: each time is a step of its transfer. */
export const TOP_UPS_MAX = 1_000
/** Most windows in which requests are counted. */
export const WINDOWS_MAX = 100_000
/** Most sales that are served before they are settled. Above it, settlement comes first. */
export const DEFERRED_MAX = 100
/** How long a paid answer is kept for whoever lost it. */
export const KEEP_MS = 3_600_000
/** How long anybody waits for a look at an open sale. The look itself goes on as long as its rail lets it. */
export const CLOSE_WAIT_MS = 15_000
/** How long a look is waited for by all who ask for the same; after that it hangs, and there is another. */
export const LOOK_SHARED_MS = 120_000
/** Most open sales that recovery waits for at once. */
export const RECOVER_AT_ONCE = 16
/** When to come back for something that is being worked on. */
export const RETRY_MS = 2_000
/** Most deliveries that are remembered while the books cannot be written. */
export const GONE_MAX = 10_000

/** How long after its settlement a sale is looked at again for the first time. */
export const LOOK_FIRST_MS = 15_000
/** How much longer each pause between two looks is than the one before. */
export const LOOK_GROWTH = 4
/** Longest pause between two looks. */
export const LOOK_PAUSE_MAX_MS = 900_000
/** How long a sale that does not become final is looked at. Then it is told as a fault, and left as it is. */
export const LOOK_UNTIL_MS = 86_400_000
/** Most sales that wait to be looked at again. Those beyond it are read from the journal when there is room. */
export const LOOK_MAX = 100_000
/** Most sales that one round looks at, and how many of them at once. */
export const LOOK_ROUND_MAX = 4_096
export const LOOK_AT_ONCE = 64
/** How far before its last row the journal is read at start, for sales that may still come undone. */
export const LOOK_BACK_MS = 3_600_000
/** Rows of the journal in one question, and most questions in one round. */
export const LOOK_ROWS = 1_000
export const LOOK_READS_MAX = 20

/** How long a process may be at one refund: longer than any rail waits. After a crash the next one waits so long. */
export const REFUND_TURN_MS = 180_000
/** How long before that end it stops writing anything ahead, so that whoever comes next is alone. */
export const REFUND_MARGIN_MS = 30_000
/** How often what is left of one account may go back, and how often it is tried against those who draw on it meanwhile. */
export const RESTS_MAX = 1_000
export const REST_TRIES_MAX = 8
/** How often a request may come to nothing under one name of its payer's. */
export const NAMES_MAX = 16
/** Most tasks that one process runs at once. */
export const TASKS_MAX = 256
/** How often the process of a task shows that it lives, and how long each sign of it holds. */
export const TASK_BEAT_MS = 20_000
export const TASK_TURN_MS = 90_000
/** How long the result of a task is kept. */
export const TASK_KEEP_MS = 86_400_000
/** Most bytes of all that waits in a queue, over all processes that share the books. */
export const QUEUE_BYTES_MAX = 67_108_864
/** What each that waits counts for at least, so that 1,024 wait at most. */
export const QUEUE_ITEM_BYTES_MIN = 65_536
/** How long a process has what it has taken up out of a queue, and how often it shows that it still works on it. */
export const QUEUE_TURN_MS = 30_000
export const QUEUE_BEAT_MS = 5_000
/** How long what a queued task needs is kept beyond its end. */
export const QUEUE_KEEP_MS = 600_000
/** Most characters of the reason of a refund, and of a name of whom to pay. */
export const REASON_CHARS_MAX = 1_000
export const DESTINATION_CHARS_MAX = 4_096
