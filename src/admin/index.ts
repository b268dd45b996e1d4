/** The dashboard's server side: the admin API, and the files of the dashboard. */
export { createAdmin } from './admin.ts'
export type { Admin, AdminSettings } from './admin.ts'
export type { AdminShop } from './shop.ts'
export { createHub } from './hub.ts'
export type { Hub, Told } from './hub.ts'
export type { Explorers } from './explorers.ts'
