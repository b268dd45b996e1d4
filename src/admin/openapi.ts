import type { JsonObject } from '../core/json.ts'
import { CSRF_FIELD } from './guard.ts'
import type { Route } from './route.ts'
import { shapes, table } from './table.ts'

/** Describes the admin API as OpenAPI 3.1, from the table that the server answers by. */
export function writeOpenApi(): JsonObject {
  const paths = new Map<string, Record<string, JsonObject>>()
  for (const route of table) {
    const operations = paths.get(route.path) ?? {}
    operations[route.method.toLowerCase()] = operationOf(route)
    paths.set(route.path, operations)
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Tolsey admin API',
      version: '1',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      description:
        'What the dashboard and the command line ask. Times are UTC; amounts are exact decimals as text, and `units` whole numbers of the smallest unit.',
    },
    servers: [{ url: '/' }],
    security: [{ cookie: [] }, { token: [] }],
    paths: Object.fromEntries(paths),
    components: {
      schemas: shapes,
      securitySchemes: {
        cookie: {
          type: 'apiKey',
          in: 'cookie',
          name: 'tolsey-admin',
          description: `Set by a login. With it, whatever is no GET needs the field ${CSRF_FIELD} too.`,
        },
        token: { type: 'http', scheme: 'bearer', description: 'The token itself, for programs.' },
      },
    },
  }
}

function operationOf(route: Route): JsonObject {
  const { name, summary, body, answers, media, isOpen } = route
  const parameters = parametersOf(route)
  const refused = {
    description: 'A refusal.',
    content: contentOf(problem, ['application/problem+json']),
  }
  const said = Object.entries(answers).map(([status, { means, schema }]) => {
    const types = media ?? (isProblem(schema) ? ['application/problem+json'] : ['application/json'])
    const hasBody = schema !== undefined || media !== undefined
    return [
      status,
      { description: means, ...(hasBody && { content: contentOf(schema ?? {}, types) }) },
    ] as const
  })
  return {
    operationId: name,
    summary,
    ...(isOpen && { security: [] }),
    ...(parameters.length > 0 && { parameters }),
    ...(body && {
      requestBody: { required: true, content: contentOf(body, ['application/json']) },
    }),
    responses: { ...Object.fromEntries(said), default: refused },
  }
}

const problem: JsonObject = { $ref: '#/components/schemas/Problem' }

function isProblem(schema: JsonObject | undefined): boolean {
  return schema?.['$ref'] === problem['$ref']
}

function contentOf(schema: JsonObject, media: readonly string[]): JsonObject {
  return Object.fromEntries(media.map((type) => [type, { schema }]))
}

function parametersOf({
  path,
  query = {},
  fields = {},
  name: route,
}: Route): readonly JsonObject[] {
  const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, name = '']) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string' },
  }))
  const inQuery = Object.entries(query).map(([name, schema]) => ({ name, in: 'query', schema }))
  const inFields = Object.entries(fields).map(([name, schema]) => ({
    name,
    in: 'header',
    required: route === 'refund' || route === 'book',
    schema,
  }))
  return [...inPath, ...inQuery, ...inFields]
}
