import assert from 'node:assert/strict'
import { test } from 'node:test'
import { skipXfs } from '../dataplane/xfs.ts'
import { prove } from './proof.ts'
import { reportText } from './report.ts'

// `npm run proof:share` is the whole proof; this is a short one.
test(
  'a share goes to and fro under its NFS clients, and each process below them is killed once',
  { skip: skipXfs },
  async (t) => {
    const lines: string[] = []
    const report = await prove({ migrations: 2, kills: 1, say: (text) => void lines.push(text) })
    t.diagnostic(reportText(report))
    assert.deepEqual(report.problems, [], lines.join('\n'))
    assert.equal(report.pauses.get('migration, cutover')?.length, 2)
  },
)
