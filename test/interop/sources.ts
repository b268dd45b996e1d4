// Has examples find the package in its sources, as its users find it in what was built. It tests nothing itself.
import { existsSync } from 'node:fs'
import { registerHooks } from 'node:module'

const root = new URL('../../src/', import.meta.url)

registerHooks({
  resolve(specifier, context, next) {
    const [, path] = /^tolsey(?:\/(.+))?$/.exec(specifier) ?? []
    if (specifier !== 'tolsey' && path === undefined) return next(specifier, context)
    const places = path === undefined ? ['index.ts'] : [`${path}/index.ts`, `adapters/${path}.ts`]
    const found = places.map((place) => new URL(place, root)).find((url) => existsSync(url))
    return next(found?.href ?? specifier, context)
  },
})
