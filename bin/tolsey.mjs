#!/usr/bin/env node
// Runs on any Node that knows modules, so that an old one gets a sentence instead of a syntax error.
import { existsSync } from 'fs'
import { fileURLToPath } from 'url'

const needed = [22, 18]
const running = process.versions.node.split('.').map(Number)

/** The source in a clone, what was built from it in a package: a clone's leftover build must not run instead. */
function entry() {
  const source = new URL('../src/cli/main.ts', import.meta.url)
  return existsSync(fileURLToPath(source))
    ? source
    : new URL('../dist/cli/main.js', import.meta.url)
}

/** SQLite and type stripping are announced as experimental by some of the versions we run on; nobody can act on that. */
function quiet() {
  const emit = process.emitWarning.bind(process)
  process.emitWarning = function (warning, options) {
    const type = options && typeof options === 'object' ? options.type : options
    if (type !== 'ExperimentalWarning') emit(...arguments)
  }
}

if (running[0] < needed[0] || (running[0] === needed[0] && running[1] < needed[1])) {
  process.stderr.write(
    `Tolsey needs Node ${needed.join('.')} or later and this is Node ${process.versions.node}: ` +
      'install a newer one from https://nodejs.org, or in a clone of the project use "npm start" and "npm exec tolsey", ' +
      'which bring their own.\n',
  )
  process.exitCode = 1
} else {
  quiet()
  void import(entry().href).then((module) => module.main())
}
