export function GET(): Response {
  return Response.json({ price: 'nothing' })
}
