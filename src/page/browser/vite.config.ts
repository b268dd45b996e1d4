import { defineConfig } from 'vite'
import type { Plugin, UserConfig } from 'vite'

/** Where the seller's style is put in. */
const THEME = '<!--theme-->'

/** Writes scripts and styles into the page itself: one file, which asks for nothing. Their hashes stand in its policy. */
const inline: Plugin = {
  name: 'inline',
  enforce: 'post',
  generateBundle(_, bundle) {
    const page = bundle['index.html']
    if (page?.type !== 'asset') throw new Error('There is no page.')
    let text = String(page.source).replace(THEME, '')
    for (const [name, part] of Object.entries(bundle)) {
      if (part === page) continue
      const tag = part.type === 'chunk' ? 'script' : 'style'
      const body = part.type === 'chunk' ? part.code : String(part.source)
      if (body.includes(`</${tag}`)) throw new Error(`${name} would end its own element.`)
      text = text.replace(
        part.type === 'chunk'
          ? /<script type="module"[^>]*src=[^>]*><\/script>\s*/
          : /<link rel="stylesheet"[^>]*>/,
        // As a function: what a text has in it is no pattern.
        // The seller's style stands behind ours, or it would say nothing.
        () => (tag === 'style' ? `<style>${body.trim()}</style>${THEME}` : ''),
      )
      if (tag === 'script')
        text = text.replace(
          '</body>',
          () => `<script type="module">${body.trim()}</script>\n  </body>`,
        )
      Reflect.deleteProperty(bundle, name)
    }
    page.source = text.replaceAll(/>\s+</g, '><')
  },
}

/** Builds the page for people into one file. */
const config: UserConfig = defineConfig({
  base: './',
  plugins: [inline],
  build: {
    outDir: '../../../dist/page',
    // The compiled server half lies there too.
    emptyOutDir: false,
    modulePreload: false,
    assetsInlineLimit: 0,
    cssCodeSplit: false,
    target: 'es2022',
  },
})
export default config
