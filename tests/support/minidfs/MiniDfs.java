import java.io.File;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.hdfs.MiniDFSCluster;
import org.apache.hadoop.hdfs.server.datanode.DataNode;

/** A real HDFS of one name node and one data node on loopback; it ends when its standard input does. */
public class MiniDfs {
    public static void main(String[] arguments) throws Exception {
        Configuration configuration = new Configuration();
        configuration.set(MiniDFSCluster.HDFS_MINIDFS_BASEDIR, new File(arguments[0]).getAbsolutePath());
        MiniDFSCluster cluster = new MiniDFSCluster.Builder(configuration).numDataNodes(1).build();
        cluster.waitActive();
        DataNode node = cluster.getDataNodes().get(0);
        System.out.println("READY " + cluster.getHttpUri(0) + " " + node.getDatanodeHostname() + ":" + node.getInfoPort());
        System.out.flush();
        while (System.in.read() != -1) { }
        cluster.shutdown();
    }
}
