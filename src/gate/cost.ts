export { bookCost } from '../core/cost.ts'
