export { ACCEPT_FIELD, prefer, readAccept } from './accept.ts'
export type { Preferences } from './accept.ts'
export { advertise } from './catalogue.ts'
export type { Advertised } from './catalogue.ts'
export { PARAM_CHARS_MAX, REQUEST_CHARS_MAX } from './challenge.ts'
export { CHALLENGES_MAX, CREDENTIAL_CHARS_MAX, FIELD_CHARS_MAX } from './fields.ts'
export { mpp } from './http.ts'
export type {
  Mpp,
  MppForm,
  MppSettings,
  Part,
  SessionSaid,
  Sessions,
  SessionUse,
  Shown,
  Words,
} from './part.ts'
export { capabilityOf, mppRpc, rpcCodes } from './rpc.ts'
export type { MppRpc, RpcError } from './rpc.ts'
export { typeOf } from './problems.ts'
export { readSocket, writeSocket } from './socket.ts'
export type { SocketFrame } from './socket.ts'
export { keepSession, ownSession } from './session.ts'
export type { OwnSession } from './session.ts'
