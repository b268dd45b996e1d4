/** `tolsey` has a thread and WebAssembly of its own: it is loaded as it is, not bundled, and so once for all routes. */
export default { serverExternalPackages: ['tolsey'] }
