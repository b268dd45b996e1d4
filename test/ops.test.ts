// The files that operators start from: read by the programs that will read them, as far as these are on the machine.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { parse, parseAllDocuments } from 'yaml'
import { readDocument } from '../src/config/document.ts'

const ops = fileURLToPath(new URL('../ops/', import.meta.url))
const file = (name: string): Promise<string> => readFile(join(ops, name), 'utf8')

/** Why a program cannot be asked, said where everybody reads it. */
function without(path: string): { readonly skip?: string } {
  return existsSync(path) ? {} : { skip: `${path} is not on this machine: nothing was checked.` }
}

test('the gateway’s document is one', async () => {
  const read = readDocument(await file('gateway.yaml'), 'gateway.yaml')
  assert.ok(read.ok, JSON.stringify(read))
  assert.deepEqual(Object.keys(read.document.upstreams), ['api'])
})

interface Service {
  readonly read_only?: boolean
  readonly environment?: Readonly<Record<string, string>>
  readonly cap_drop?: readonly string[]
  readonly volumes?: readonly string[]
}

test('compose starts two gateways that are the same, with all that their document names', async () => {
  const { services } = parse(await file('compose.yaml')) as {
    readonly services: Readonly<Record<string, Service>>
  }
  const { 'gateway-one': one, 'gateway-two': two } = services
  assert.ok(one)
  assert.deepEqual(one, two)
  assert.deepEqual([one.read_only, one.cap_drop], [true, ['ALL']])
  assert.deepEqual(Object.keys(one.environment ?? {}).toSorted(), await variables())
  assert.equal(services['books']?.environment?.['POSTGRES_INITDB_ARGS']?.includes('UTF8'), true)
})

/** What the gateway's document reads from its environment. */
async function variables(): Promise<readonly string[]> {
  const found = [...(await file('gateway.yaml')).matchAll(/\{ env: (\w+) \}/g)]
  return [...new Set(found.map(([, name = '']) => name))].toSorted()
}

interface Container {
  readonly env: readonly { readonly name: string }[]
  readonly securityContext: Readonly<Record<string, unknown>>
}

test('Kubernetes starts what may not be root, may not write, and is given the same', async () => {
  const documents = parseAllDocuments(await file('kubernetes/gateway.yaml')).map(
    (one) => one.toJS() as { readonly kind: string; readonly spec: unknown },
  )
  assert.deepEqual(
    documents.map(({ kind }) => kind),
    ['Deployment', 'Service', 'PodDisruptionBudget'],
  )
  const [deployment] = documents
  assert.ok(deployment)
  const { template } = deployment.spec as {
    readonly template: {
      readonly spec: {
        readonly securityContext: Readonly<Record<string, unknown>>
        readonly containers: readonly Container[]
      }
    }
  }
  const [gateway] = template.spec.containers
  assert.ok(gateway)
  assert.equal(template.spec.securityContext['runAsNonRoot'], true)
  assert.equal(gateway.securityContext['readOnlyRootFilesystem'], true)
  assert.deepEqual(gateway.env.map(({ name }) => name).toSorted(), await variables())
})

test('the container’s last stage is not root and takes nothing along that was only built with', async () => {
  const [, last = ''] = (await file('Dockerfile')).split(/^FROM .* AS build$/m)
  const stage = last.slice(last.indexOf('\nFROM '))
  assert.match(stage, /^USER node$/m)
  assert.doesNotMatch(stage, /npm|COPY \./)
})

test('systemd finds no fault with the unit', without('/usr/bin/systemd-analyze'), () => {
  const { status, stderr } = spawnSync('systemd-analyze', ['verify', join(ops, 'tolsey.service')], {
    encoding: 'utf8',
    timeout: 20_000,
  })
  assert.deepEqual([status, stderr], [0, ''])
})

test(
  'nginx finds no fault with what stands before the gateways',
  without('/usr/sbin/nginx'),
  async () => {
    const directory = await mkdtemp(join(tmpdir(), 'ops-'))
    try {
      // Names of containers are known to no resolver here.
      const site = (await file('nginx.conf')).replaceAll(/gateway-(one|two):/g, '127.0.0.1:')
      const main = `pid ${directory}/pid; error_log stderr; events {} http { access_log off;\n${site}\n}`
      await writeFile(join(directory, 'nginx.conf'), main)
      const { status, stderr } = spawnSync(
        '/usr/sbin/nginx',
        ['-t', '-p', directory, '-c', join(directory, 'nginx.conf')],
        { encoding: 'utf8', timeout: 20_000 },
      )
      assert.equal(status, 0, stderr)
    } finally {
      await rm(directory, { recursive: true })
    }
  },
)
