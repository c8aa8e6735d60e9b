/** `volant serve`, with the gate around its agents and records. Everything else is the product's own. */
import { flushCompileCache } from 'node:module'
import { parseArgs } from 'node:util'
import { join } from 'node:path'
import { programCommand } from '@volant/cli/instance/program-command.ts'
import { claimStateFolder } from '@volant/cli/instance/record.ts'
import { prepareStateFolder } from '@volant/cli/instance/state-folder.ts'
import { createLog } from '@volant/cli/output/log.ts'
import { startControlPlane } from '@volant/control/main.ts'
import { gateOf } from './gate.ts'

const { values } = parseArgs({
  allowPositionals: true,
  options: { state: { type: 'string' }, port: { type: 'string' }, config: { type: 'string' } },
})
const stateDir = values.state as string

await prepareStateFolder(stateDir)
const claim = await claimStateFolder(stateDir, 'crash')
const ending = new Promise((resolve) => process.once('SIGTERM', resolve))
const log = createLog(process.stdout)
const plane = await startControlPlane({
  stateDir,
  port: Number(values.port ?? 0),
  log,
  cacheDir: join(import.meta.dirname, '../../.cache'),
  // Agents in processes of their own are the product's, without a gate.
  command: programCommand(join(import.meta.dirname, '../../packages/cli/src/main.ts')),
  around: gateOf(stateDir),
})
await claim.ready(plane.url)
flushCompileCache() // one that is killed leaves none
log.info({ url: plane.url, stateDir }, 'ready')
await ending
await plane.close()
await claim.release()
