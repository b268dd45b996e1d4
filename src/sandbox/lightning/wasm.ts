import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { PaymentError } from '../../core/problem.ts'

/** The Lightning Development Kit, as its package gives it. */
export type Ldk = typeof import('lightningdevkit')

let loaded: Promise<Ldk> | undefined

/**
 * The Lightning Development Kit, loaded once in a process: its memory is one, and all nodes live in it.
 * @throws {PaymentError} when the package is not installed.
 */
export function loadLdk(): Promise<Ldk> {
  return (loaded ??= load())
}

async function load(): Promise<Ldk> {
  // Both at once: reading a thousand modules and twelve megabytes is most of a start.
  const [ldk, binary] = await Promise.all([module(), program()])
  const restore = hush()
  try {
    await ldk.initializeWasmFromBinary(binary)
  } finally {
    restore()
  }
  return ldk
}

async function module(): Promise<Ldk> {
  try {
    return await import('lightningdevkit')
  } catch (cause) {
    throw new PaymentError(
      'misconfigured',
      'Lightning in the sandbox needs lightningdevkit. Install it with: npm install --save-dev lightningdevkit',
      { cause },
    )
  }
}

async function program(): Promise<Uint8Array> {
  const require = createRequire(import.meta.url)
  // Without the package, the other half of the load tells so.
  try {
    const directory = dirname(require.resolve('lightningdevkit/package.json'))
    return await readFile(join(directory, 'liblightningjs.wasm'))
  } catch {
    return new Uint8Array()
  }
}

/** The bindings greet whoever loads them, and would do so in the middle of a command's output. */
function hush(): () => void {
  const { log } = console
  const quiet = (...words: readonly unknown[]): void => {
    if (!String(words[0]).startsWith('Loaded LDK')) log(...words)
  }
  Object.assign(console, { log: quiet })
  return () => void Object.assign(console, { log })
}
