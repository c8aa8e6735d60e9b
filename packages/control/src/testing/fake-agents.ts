/** Stands in for `volant node`: writes its record as that does, and then lives until it is killed. */
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { readNodeCredentials } from '@volant/agent/node/credentials.ts'
import { identityOf, writeJsonDurably } from '@volant/qemu'
import { agentRecordPath, digestOf, type AgentProcessRecord } from '../agent-process.ts'

const [, credentialsDir = ''] = process.argv.slice(2)
const folder = dirname(credentialsDir)
if (existsSync(join(folder, 'broken'))) {
  console.log('it is broken')
  process.exit(1)
}
const { name, plan } = readNodeCredentials(credentialsDir)
const record: AgentProcessRecord = {
  ...identityOf(process.pid),
  name,
  url: 'https://127.0.0.1:1',
  digest: digestOf({ name, plan }),
  startedAt: new Date().toISOString(),
}
writeJsonDurably(agentRecordPath(folder), record)
setInterval(() => {}, 1000)
