import { defineConfig } from 'vite'
import type { UserConfig } from 'vite'

/** Builds the dashboard into a few files of our own: nothing inline, and nothing from elsewhere. */
const config: UserConfig = defineConfig({
  base: './',
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  build: {
    outDir: '../../dist/dashboard',
    emptyOutDir: true,
    // Both would be written into the page itself, which its policy forbids.
    modulePreload: false,
    assetsInlineLimit: 0,
    target: 'es2022',
  },
})
export default config
