import { DatabaseSync } from 'node:sqlite'
import { PaymentError } from '../core/problem.ts'

/**
 * Takes the directory for this process alone and gives the function that leaves it. The lock is the operating system's, on
 * an empty database: it ends with the process, however that ends.
 * @throws {PaymentError} when another process has it.
 */
export function lock(file: string): () => void {
  const database = new DatabaseSync(file)
  try {
    database.exec('BEGIN EXCLUSIVE')
  } catch (cause) {
    database.close()
    throw new PaymentError(
      'misconfigured',
      'Another sandbox runs in this directory. Stop it, or name another one with TOLSEY_STATE.',
      { cause },
    )
  }
  return () => database.close()
}
