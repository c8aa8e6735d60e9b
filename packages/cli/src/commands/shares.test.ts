import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Share, ShareDetail } from '@volant/contract/ndo/share.ts'
import { exitCodes } from '../exit-codes.ts'
import { resolveShare } from '../storage-name.ts'
import { sharesText, shareText } from './shares.ts'

const share: Share = {
  id: 'd0c5',
  name: 'docs',
  project_id: 'p',
  cluster: 'cinder-lma',
  host: 'h@manila-lma#aggr1',
  node: 'lma-01',
  flexvol: { id: 'f1', name: 'share_d0c5' },
  export_location: '10.0.0.1:/share_d0c5',
  status: 'migrating',
  task_state: 'migration_driver_phase1_done',
  access_rules_status: 'active',
  size_bytes: 2 * 1024 ** 3,
  used_bytes: 1024 ** 2,
  snapshots: 1,
  clients: 2,
  is_served: true,
  trouble: null,
  move: { id: 'm1', state: 'cutover_pending', percent: 99, to: 'aggr2@lma-01' },
  created_at: '2026-11-22T10:00:00.000Z',
}
const detail: ShareDetail = {
  share,
  mount_path: '/srv/d0c5',
  root_squash: false,
  access_rules: [{ id: 'r1', to: '10.0.0.0/24', level: 'rw', state: 'active' }],
  snapshots: [],
  mounts: [{ address: '10.0.0.7', version: '4.1', access: 'rw', is_certain: false, last_seen: null }],
  processes: [{ what: 'NFS server of svm_cinder-lma', pid: 17 }],
  volume_id: 'v1',
  image_id: 'i1',
}

test('a list of shares has a line for each, then what is wrong; an empty one says how to make a share', () => {
  const away = {
    ...share,
    id: 'cafe',
    name: null,
    used_bytes: null,
    clients: null,
    trouble: 'node lma-01 is away',
  }
  const text = sharesText([share, away])
  assert.match(
    text,
    /docs .* migrating \(migration_driver_phase1_done\) .* 1.00 MiB .* 2 .*cutover_pending 99 % to aggr2/,
  )
  assert.match(text, /cafe +\| - .* - .*\| - /)
  assert.equal(text.split('\n').at(-1), '! Share cafe is in trouble: node lma-01 is away')
  assert.match(sharesText([]), /no shares.*manila create/)
})

test('one share has its clients, rules and processes; what there is none of is said', () => {
  const text = shareText(detail)
  for (const part of [
    /10\.0\.0\.7 .* 4\.1 .* rw .* no/,
    /Not certain: it is connected/,
    /17 NFS server of svm/,
  ]) {
    assert.match(text, part)
  }
  assert.match(text, /^Snapshots: none$/m)
  const nobody = shareText({ ...detail, access_rules: [], mounts: [] })
  assert.match(nobody, /^Access rules: nobody has access$/m)
  assert.match(nobody, /^Clients: none is connected$/m)
  assert.doesNotMatch(nobody, /Not certain/)
})

test('a share is found by name, id or export location; a name that two have is not enough', () => {
  const twin = { ...share, id: 'beef', export_location: null, project_id: 'q' }
  for (const wish of ['d0c5', '10.0.0.1:/share_d0c5']) assert.equal(resolveShare(wish, [share, twin]), share)
  assert.throws(() => resolveShare('docs', [share, twin]), {
    exitCode: exitCodes.refused,
    message: /give its id:[^]*beef {2}docs {2}of project q/,
  })
  assert.throws(() => resolveShare('x', []), { exitCode: exitCodes.notFound, message: /nor any other/ })
})
