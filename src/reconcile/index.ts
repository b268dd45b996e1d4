export type { Booking, Position } from './round.ts'
export type { Comparison, Reconciler, ReconcilerSettings } from './reconciler.ts'
export { createReconciler } from './reconciler.ts'
