/** Work that is paid for and goes on after its request was answered. */
export interface TaskOrder {
  /** The key of what pays for it in the books. */
  readonly payment: string
  /** The id of the request. */
  readonly request: string
  /** What was asked for, in words for people. */
  readonly what: string
  /** What stands for whoever has paid: a digest of the proof. */
  readonly holder: string
  /** Whether it is charged by measure while it runs: then nothing of what was charged goes back. */
  readonly isMetered: boolean
  /** How long it may take. */
  readonly withinMs: number
}

/** How a task stands. */
export interface Task {
  /** Unguessable: whoever has it may ask how the task stands. */
  readonly id: string
  readonly state: 'accepted' | 'running' | 'done' | 'failed'
  /** How much of it is done, in thousandths. */
  readonly progress: number
  readonly startedAt: number
  readonly endedAt?: number
  /** Why it failed: a word. */
  readonly why?: string
  /** What became of the money of one that has failed. */
  readonly refund?: 'none' | 'open' | 'refunded' | 'denied'
  readonly holder: string
  /** The account that its token draws on. */
  readonly account?: string
  /** It waits for something that is away, and is tried again. */
  readonly waits?: true
}

/** Where a task is asked for; its id follows. */
export const TASKS_PATH = '/.well-known/tolsey/tasks/'
/** How a task stands, on an answer that tells it and is not its result. */
export const TASK_FIELD = 'Tolsey-Task'
/** All of a task, in thousandths. */
export const PROGRESS_MAX = 1_000

/** A task that this process works on. */
export interface TaskRun {
  readonly task: Task
  /** Fires when the task is over for another reason than its work: it took too long, or the process ends. */
  readonly signal: AbortSignal
  /** Takes up the work: it was charged. */
  start(): Promise<void>
  /** It was not charged: there is no task. */
  cancel(): Promise<void>
  /** How much is done, in thousandths; never less than before. What fails costs that much. */
  progress(done: number): void
  /** Keeps the result. False where the task was over before, and nothing of it is told. */
  done(result: Uint8Array): Promise<boolean>
  /** Gives back what was charged for what is not done. */
  fail(why: string): Promise<void>
}

/** What a queue is told of a task beside its order. */
export interface QueueOrder extends TaskOrder {
  /** All that is needed to do the work, for whichever process does it. It is kept sealed. */
  readonly work: Uint8Array
  /** Whether doing it twice does no more than doing it once. What may have begun is never begun again otherwise. */
  readonly repeats: boolean
}

/** A task that was queued, before it is known whether it is charged. */
export interface Queued {
  readonly task: Task
  /** Told once whether it was charged; absent where the task was there before. */
  readonly charged?: (is: boolean) => Promise<void>
}

/** A queued task that this process has taken up: nobody else works on it. Ends by one of its verbs. */
export interface Turn {
  /** What the queue was given. */
  readonly work: Uint8Array
  readonly repeats: boolean
  /** When it is too late. */
  readonly untilAt: number
  /** How often it was tried before. */
  readonly tries: number
  /** Fires when it is too late, or another has it. */
  readonly signal: AbortSignal
  /**
   * Writes down that the work may begin from now on: whoever finds that and no end cannot know whether it has. False where it is
   * another's by now, and must not begin.
   */
  begin(): Promise<boolean>
  /** The work has not begun, or may be done twice: it is tried again after that time. */
  later(ms: number): Promise<void>
  /** Keeps the result. False where the task was over before, and nothing of it is told. */
  done(result: Uint8Array): Promise<boolean>
  /** Gives back what was charged. */
  fail(why: string): Promise<void>
}

/** Tasks, and what became of them. */
export interface Tasks {
  /**
   * Makes the task of a payment; without a run where there is one already. Throws `rate-limited` where too many run.
   */
  begin(order: TaskOrder): Promise<{ readonly task: Task; readonly run?: TaskRun }>
  /** The task of a payment, where there is one. */
  of(order: Pick<TaskOrder, 'payment' | 'request'>): Promise<Task | undefined>
  /**
   * Queues the task of a payment, for any process that shares the books. Throws `rate-limited` where the queue is full, and
   * `store-unavailable` where the work cannot be kept.
   */
  queue(order: QueueOrder): Promise<Queued>
  /** Takes up those that are charged and due, at most so many. What is too late goes back. */
  take(most: number): Promise<readonly Turn[]>
  find(id: string): Promise<Task | undefined>
  /** The result of one that is done, as long as it is kept. */
  result(id: string): Promise<Uint8Array | undefined>
  /** Ends those that this process works on: they have failed, and what was not done goes back. */
  close(): Promise<void>
}
