import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { storeSuite } from '@volant/saga/testing/store-suite.ts'
import { openDatabase } from '../open.ts'
import { operationStore } from './operation.ts'

storeSuite('SQLite', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'volant-operations-'))
  const db = await openDatabase(join(folder, 'db.sqlite'))
  return {
    store: operationStore(db),
    async close() {
      await db.destroy()
      await rm(folder, { recursive: true })
    },
  }
})
