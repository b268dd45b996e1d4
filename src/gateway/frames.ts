import { Buffer } from 'node:buffer'

/** Longest frame of a WebSocket that is counted, in bytes of its payload. */
export const FRAME_BYTES_MAX = 16_777_216
/** Longest payload of a control frame (RFC 6455, 5.5). */
const CONTROL_BYTES_MAX = 125
/** Longest reason in a frame that closes: two bytes of it are the code. */
const REASON_BYTES_MAX = CONTROL_BYTES_MAX - 2
const HEAD_BYTES_MAX = 14

/** A frame of text, and one that closes the connection (RFC 6455, 5.2). */
export const TEXT = 1
/** As {@link TEXT}. */
export const CLOSE = 8
const BINARY = 2
const PONG = 10

/** The code with which an upstream is told that its payer has left (RFC 6455, 7.4.1). */
export const GOING_AWAY = 1001
const PROTOCOL_ERROR = 1002
const TOO_BIG = 1009
/** Ours, of those that nobody registers (7.4.2): what is not paid any further. */
export const PAYMENT_REQUIRED = 4402

/** The head of a frame. */
export interface Frame {
  readonly isLast: boolean
  readonly opcode: number
  /** Whether an extension has changed the payload, for instance compressed it. */
  readonly isExtended: boolean
  /** Bytes of the payload. */
  readonly length: number
}

/** A piece of a stream of frames: a head, and then its payload as it comes. An empty payload has no piece. */
export type Piece =
  | { readonly kind: 'head'; readonly frame: Frame; readonly bytes: Buffer }
  | { readonly kind: 'body'; readonly bytes: Buffer; readonly isEnd: boolean }

/** Why a connection cannot go on, as its close frame says it. */
export class FrameError extends Error {
  override readonly name = 'FrameError'
  readonly code: number
  constructor(code: number, reason: string) {
    super(reason)
    this.code = code
  }
}

/** Cuts what one side sends into frames, reading their heads alone. */
export interface FrameReader {
  /** Throws {@link FrameError} at what no peer may send. */
  read(chunk: Buffer): Generator<Piece, void, undefined>
  /** Whether a fragmented message is open, in which no other may begin. */
  readonly isInMessage: boolean
}

/** Makes a reader for the side that masks its frames (the client's, RFC 6455, 5.1), or for the one that does not. */
export function createFrameReader(isMasked: boolean): FrameReader {
  let rest: Buffer = Buffer.alloc(0)
  let left = 0
  let isInMessage = false

  function note({ opcode, isLast, length }: Frame): void {
    if (opcode > PONG || (opcode > BINARY && opcode < CLOSE))
      throw wrong('An unknown kind of frame.')
    if (opcode >= CLOSE) {
      if (!isLast || length > CONTROL_BYTES_MAX) throw wrong('A control frame is short and whole.')
      return
    }
    if ((opcode === 0) !== isInMessage) throw wrong('A fragment without its message.')
    isInMessage = !isLast
  }

  return {
    get isInMessage() {
      return isInMessage
    },
    *read(chunk) {
      let bytes = rest.length > 0 ? Buffer.concat([rest, chunk]) : chunk
      rest = Buffer.alloc(0)
      while (bytes.length > 0) {
        if (left > 0) {
          const part = bytes.subarray(0, left)
          left -= part.length
          bytes = bytes.subarray(part.length)
          yield { kind: 'body', bytes: part, isEnd: left === 0 }
          continue
        }
        const size = headBytesOf(bytes)
        if (size === undefined || bytes.length < size) {
          rest = Buffer.from(bytes.subarray(0, HEAD_BYTES_MAX))
          return
        }
        const frame = readHead(bytes, isMasked)
        note(frame)
        left = frame.length
        const head = bytes.subarray(0, size)
        bytes = bytes.subarray(size)
        yield { kind: 'head', frame, bytes: head }
      }
    },
  }
}

/** Undefined while that is not known. */
function headBytesOf(bytes: Buffer): number | undefined {
  const second = bytes[1]
  if (second === undefined) return undefined
  const short = second & 0x7f
  const length = { 126: 2, 127: 8 }[short] ?? 0
  return 2 + length + (second & 0x80 ? 4 : 0)
}

function readHead(bytes: Buffer, isMasked: boolean): Frame {
  const [first = 0, second = 0] = bytes
  if (second >= 0x80 !== isMasked) throw wrong('Clients mask their frames, and servers do not.')
  const length = lengthOf(bytes, second & 0x7f)
  if (length > FRAME_BYTES_MAX)
    throw new FrameError(TOO_BIG, `A frame has at most ${FRAME_BYTES_MAX} bytes here.`)
  return {
    ...{ isLast: first >= 0x80, opcode: first & 0x0f, isExtended: (first & 0x70) !== 0 },
    length,
  }
}

/** The shortest way to write a length is the only one (RFC 6455, 5.2). */
function lengthOf(bytes: Buffer, short: number): number {
  const said =
    short < 126 ? short : short === 126 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2))
  const least = short < 126 ? 0 : short === 126 ? 126 : 65_536
  if (said < least) throw wrong('A length that is written too long.')
  return said
}

function wrong(reason: string): FrameError {
  return new FrameError(PROTOCOL_ERROR, reason)
}

/** A whole frame; `mask` for a client's. */
export function writeFrame(opcode: number, payload: Buffer, mask?: Uint8Array): Buffer {
  const { length } = payload
  const long = length > 65_535 ? 8 : length > 125 ? 2 : 0
  const head = Buffer.alloc(2 + long)
  head[0] = 0x80 | opcode
  head[1] = (mask ? 0x80 : 0) | (long === 8 ? 127 : long === 2 ? 126 : length)
  if (long === 2) head.writeUInt16BE(length, 2)
  if (long === 8) head.writeBigUInt64BE(BigInt(length), 2)
  if (!mask) return Buffer.concat([head, payload])
  const masked = payload.map((byte, i) => byte ^ (mask[i % 4] ?? 0))
  return Buffer.concat([head, mask, masked])
}

/** What a frame that closes says. */
export function closing(code: number, reason: string): Buffer {
  const said = Buffer.alloc(2)
  said.writeUInt16BE(code)
  return Buffer.concat([said, Buffer.from(reason).subarray(0, REASON_BYTES_MAX)])
}
