/**
 * When the server starts, but not when the app is built, the seller opens and finishes what a crash has left undone. At
 * this point `fetch` is still the platform's: what the seller asks its networks never comes from Next's cache.
 */
export async function register(): Promise<void> {
  if (process.env['NEXT_RUNTIME'] !== 'nodejs') return
  const { seller } = await import('./seller')
  await seller()
}
