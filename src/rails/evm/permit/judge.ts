import type { Hex } from '../hex.ts'
import { WITNESSES, digestOf } from './permit2.ts'
import type { Proof } from './proof.ts'
import type { Signers } from './signers.ts'

/** By which way of writing the witness a permit is good. */
export interface Seen {
  readonly witness: string
}

/** Tells by arithmetic alone which of the known ways a payer has written the witness in. */
export interface Judge {
  /** Undefined where the payer's own key did not sign it in any: a contract may say otherwise. */
  signed(proof: Proof): Seen | undefined
  /** What was found of it before, with or without a chain. */
  known(proof: Proof): Seen | undefined
  keep(proof: Proof, seen: Seen): void
  /** Which account has signed a permit that says nothing of its owner. */
  signerOf(proof: Omit<Proof, 'from'>): Hex | undefined
}

/** Makes the judge. `signers` is there once the rail is open. */
export function createJudge(parts: {
  readonly spender: Hex
  readonly separator: Hex
  readonly signers: () => Signers | undefined
}): Judge {
  const { spender, separator, signers } = parts
  const found = new WeakMap<Proof, Seen>()

  const signerBy = (proof: Proof, witness: string): Hex | undefined =>
    signers()?.signer(digestOf(proof, spender, separator, witness), proof.signature)

  return {
    signed(proof) {
      const witness = waysOf(proof).find((one) => signerBy(proof, one) === proof.from)
      return witness === undefined ? undefined : { witness }
    },
    known: (proof) => found.get(proof),
    keep: (proof, seen) => void found.set(proof, seen),
    // Of whom nobody has said anything the likeliest way decides; a wrong one gives an account that has nothing.
    signerOf(proof) {
      const [likeliest = ''] = waysOf(proof)
      return signerBy({ ...proof, from: '0x' }, likeliest)
    },
  }
}

/** The likeliest first: who shows a reference has most likely signed it. */
export function waysOf({ witness }: Pick<Proof, 'witness'>): readonly string[] {
  const [plain = '', ...named] = WITNESSES
  return witness.externalId === undefined ? [plain, ...named] : [...named, plain]
}
